<?php

declare(strict_types=1);

namespace Antenv\Exception;

use Antenv\Json;
use Antenv\Names;
use Antenv\Native;

/**
 * Any failure that the library reports. Each kind of failure has a class of its own:
 *
 *     AntenvException
 *       Config, InvalidArgument        an argument of a client or of a call; nothing was sent
 *       Closed                         what was used is closed, or the library is being shut down
 *       Cancelled                      the call was cancelled by a shutdown
 *       LeaseLost                      the lease on a work item is lost
 *       Internal                       a fault in the library
 *       API
 *         APIConnection                no connection, or it broke
 *           APITimeout                 the call's time is over
 *         APIResponseValidation        a success that is not valid JSON
 *         APIStatus                    the server's response: a class for each HTTP status
 *
 * The message has the operation, the HTTP status and the request id as far as there are any:
 * `environments.retrieve: 404 not_found: There is no environment env_1. (req_2)`. `getCode()` returns the number of
 * `$status`, such as 104.
 */
class AntenvException extends \RuntimeException
{
    /** The exceptions of the library's statuses: its own (below 100), and those of responses. */
    private const BY_CODE = [
        1 => InvalidArgument::class,
        2 => Closed::class,
        3 => Config::class,
        4 => APIConnection::class,
        5 => APITimeout::class,
        6 => Cancelled::class,
        7 => APIResponseValidation::class,
        9 => Closed::class,
        10 => LeaseLost::class,
        11 => Internal::class,
        100 => BadRequest::class,
        101 => Authentication::class,
        102 => PaymentRequired::class,
        103 => PermissionDenied::class,
        104 => NotFound::class,
        105 => RequestTimeout::class,
        106 => Conflict::class,
        107 => PreconditionFailed::class,
        108 => ContentTooLarge::class,
        109 => UnprocessableEntity::class,
        110 => RateLimit::class,
        111 => InternalServer::class,
        112 => Overloaded::class,
        113 => APIStatus::class,
    ];

    /** The exceptions of HTTP statuses that have no status number of their own. */
    private const BY_HTTP_STATUS = [
        431 => RequestHeaderFieldsTooLarge::class,
        499 => ClientClosedRequest::class,
        501 => HTTPNotImplemented::class,
        503 => ServiceUnavailable::class,
        504 => GatewayTimeout::class,
    ];

    /** What Closed says of a handle that is not alive, which in PHP is one that was closed. */
    private const CLOSED = [
        'client' => 'this client is closed: make a new one, or close it after its last call',
        'worker' => 'this worker is closed: make a new one',
        'lease' => 'this lease has ended: it was finished, released or abandoned',
        'session' => 'this session is not served any more',
    ];

    /** The kind of failure by name, such as "not_found". */
    public readonly string $status;

    /** What happened, in words: the message without operation, HTTP status and request id. They may change. */
    public readonly string $problem;

    /** The operation that failed, such as "environments.retrieve"; null when it is no operation of a client. */
    public readonly ?string $operation;

    /** The argument that was rejected, if that is what happened. */
    public readonly ?string $parameter;

    /** @var array<string, mixed> */
    private readonly array $fields;

    /**
     * Use `AntenvException::of`, which chooses the class.
     *
     * @param string               $problem What happened.
     * @param array<string, mixed> $fields  The error object of the library.
     */
    final public function __construct(string $problem, array $fields = [], ?\Throwable $previous = null)
    {
        $this->fields = $fields;
        $this->problem = $problem;
        $this->status = self::text($fields, 'status') ?? '';
        $this->operation = self::text($fields, 'operation');
        $parameter = self::text($fields, 'parameter');
        $this->parameter = $parameter === null ? null : Names::camel($parameter);
        $this->read($fields);
        $code = $fields['code'] ?? 0;
        parent::__construct($this->whole(), is_int($code) ? $code : 0, $previous);
    }

    /**
     * Returns the exception for a status of the library and its error object, which is empty where it gives none.
     *
     * @internal
     */
    public static function of(int $status, string $error): self
    {
        $fields = $error === '' ? [] : (array) Json::plain(Json::decode($error));
        $fields += ['code' => $status, 'status' => Native::library()->antenv_status_name($status)];
        $http = $fields['http_status'] ?? null;
        $class = self::BY_HTTP_STATUS[$http ?? 0] ?? self::BY_CODE[$status] ?? self::class;
        $problem = self::text($fields, 'message') ?? self::text($fields, 'status') ?? '';
        if ($status === Native::INVALID_HANDLE) {
            $problem = self::CLOSED[self::text($fields, 'parameter') ?? ''] ?? 'this object is closed';
        } elseif ($http === null) { // else it is the server's message, which may name anything
            $problem = Names::inMessage($problem);
        }

        return new $class($problem, $fields);
    }

    /**
     * Returns the exception for an argument that cannot be passed to the library.
     *
     * @internal
     */
    public static function argument(string $parameter, string $problem): InvalidArgument
    {
        return new InvalidArgument(
            '`' . Names::camel($parameter) . "` $problem",
            ['code' => Native::INVALID_ARGUMENT, 'status' => 'invalid_argument', 'parameter' => $parameter],
        );
    }

    /**
     * Returns the error object of the library, with its names: every field that there is.
     *
     * @return array<string, mixed>
     */
    public function toArray(): array
    {
        return $this->fields;
    }

    /**
     * Reads what a class of exceptions has besides.
     *
     * @param array<string, mixed> $fields
     */
    protected function read(array $fields): void
    {
    }

    /** @param array<string, mixed> $fields */
    final protected static function text(array $fields, string $name): ?string
    {
        $value = $fields[$name] ?? null;

        return is_string($value) ? $value : null;
    }

    private function whole(): string
    {
        $http = $this->fields['http_status'] ?? null;
        $request = self::text($this->fields, 'request_id');

        return ($this->operation === null ? '' : "$this->operation: ")
            . (is_int($http) ? "$http $this->status: " : '')
            . $this->problem
            . ($request === null ? '' : " ($request)");
    }
}

<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Resources\Beta;

/**
 * A client of the Environments API.
 *
 *     $client = new Client(apiKey: '...');
 *     $environment = $client->beta->environments->create(name: 'tests', config: ['type' => 'self_hosted']);
 *
 * Make one and keep it: it holds the connections. Its calls block until they have their results, and throw exceptions
 * of `Antenv\Exception`. A process that was forked from this one may use it, too.
 */
final class Client
{
    use ServesWork;
    use Uncopyable;

    /** The operations. */
    public readonly Beta $beta;

    private readonly Handle $handle;
    private readonly Calls $calls;

    /**
     * Makes a client. Nothing is sent yet. null is the same as leaving an argument out.
     *
     * @param string|null $apiKey API key. Without any credential here: ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN,
     *     then ANTHROPIC_ENVIRONMENT_KEY, of the process's environment variables.
     * @param string|null $authToken Bearer token in place of an API key.
     * @param string|null $environmentKey Key of a self-hosted environment. Alongside an API key, each operation uses the
     *     one that it needs.
     * @param string|null $baseURL Address of the API. null: ANTHROPIC_BASE_URL, then https://api.anthropic.com.
     * @param int|null $timeoutMs Bounds a whole call, retries included: 1 to 2147483647. null: 600000.
     * @param int|null $attemptTimeoutMs Bounds one attempt: 1 to 2147483647. null: 60000, for a poll 10000 more than its
     *     `blockMs`.
     * @param int|null $connectTimeoutMs Bounds one attempt to connect, over all addresses of the host. null: 5000.
     * @param int|null $maxRetries How often 408, 409, 429, 5xx and connection failures are retried: 0 to 100. null: 2.
     * @param array<string, string|null>|null $defaultHeaders Headers for every call.
     * @param list<string>|null $betas Beta versions for every call, besides the one that is always sent.
     * @param string|null $workspaceID The workspace to act in.
     * @param string|null $anthropicVersion The version of the API. null: 2026-10-21.
     * @param string|null $authHeader The header that carries an API key: "authorization" (the default), or the older
     *     "x-api-key".
     * @param string|null $caFile PEM file of root certificates to trust besides those that `roots` names.
     * @param string|null $roots The root certificates to trust: "bundled" (the default), "system" or "only_ca_file".
     * @param string|null $clientCertFile PEM file of the client's certificate, with its chain.
     * @param string|null $clientKeyFile PEM file of its private key. null: the key is in `clientCertFile`.
     * @param string|null $proxy URL of a proxy (http, https, socks4, socks4a, socks5, socks5h), "" for none. null:
     *     HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.
     * @param int|null $maxResponseBytes Size limit of a response. null: 67108864.
     * @param string|null $http2 Whether HTTP/2 is used: "auto" (the default), "never" or "always".
     * @param bool|null $allowInsecureHTTP Whether plain http:// is allowed to hosts other than this one. null: no.
     *
     * @throws Exception\Config An argument is invalid, or no credential was found.
     */
    public function __construct(
        #[\SensitiveParameter]
        ?string $apiKey = null,
        #[\SensitiveParameter]
        ?string $authToken = null,
        #[\SensitiveParameter]
        ?string $environmentKey = null,
        ?string $baseURL = null,
        ?int $timeoutMs = null,
        ?int $attemptTimeoutMs = null,
        ?int $connectTimeoutMs = null,
        ?int $maxRetries = null,
        #[\SensitiveParameter]
        ?array $defaultHeaders = null,
        ?array $betas = null,
        ?string $workspaceID = null,
        ?string $anthropicVersion = null,
        ?string $authHeader = null,
        ?string $caFile = null,
        ?string $roots = null,
        ?string $clientCertFile = null,
        ?string $clientKeyFile = null,
        #[\SensitiveParameter]
        ?string $proxy = null,
        ?int $maxResponseBytes = null,
        ?string $http2 = null,
        ?bool $allowInsecureHTTP = null,
    ) {
        $this->use(Native::handle('client', 'antenv_client_new', Json::params(get_defined_vars())));
    }

    /**
     * Makes a client that shares this one's connections, with another credential or other defaults.
     *
     * The arguments are those of the constructor; null keeps this client's. A credential that is given here replaces all
     * of this client's. `defaultHeaders` are merged into this client's, and null as a header's value removes it. Either
     * client may be closed first.
     *
     * @param array<string, string|null>|null $defaultHeaders
     * @param list<string>|null $betas
     *
     * @throws Exception\Config An argument is invalid.
     * @throws Exception\Closed This client is closed.
     */
    public function withOptions(
        #[\SensitiveParameter]
        ?string $apiKey = null,
        #[\SensitiveParameter]
        ?string $authToken = null,
        #[\SensitiveParameter]
        ?string $environmentKey = null,
        ?int $timeoutMs = null,
        ?int $attemptTimeoutMs = null,
        ?int $maxRetries = null,
        #[\SensitiveParameter]
        ?array $defaultHeaders = null,
        ?array $betas = null,
        ?string $workspaceID = null,
        ?string $anthropicVersion = null,
        ?string $authHeader = null,
        ?int $maxResponseBytes = null,
    ): self {
        $config = Json::params(get_defined_vars());

        return self::ofHandle(Native::handle('client', 'antenv_client_derive', $this->handle->pointer(), $config));
    }

    /**
     * Makes a client of a handle, which it owns.
     *
     * @internal
     */
    public static function ofHandle(Handle $handle): self
    {
        $client = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
        $client->use($handle);

        return $client;
    }

    /**
     * Calls an operation by its name, such as "environments.create"; returns what was decoded from its result, objects as
     * stdClass.
     *
     * It is for operations that the library has and this package does not know yet.
     *
     * @param string $operation The operation's name.
     * @param array<string, mixed> $params Its parameters, identifiers included, in camelCase or with the API's names.
     *
     * @throws AntenvException The call failed.
     */
    public function call(
        string $operation,
        #[\SensitiveParameter]
        array $params = [],
        ?RequestOptions $requestOptions = null,
    ): mixed {
        return $this->calls->make(Calls::withoutNul('operation', $operation), $params, $requestOptions);
    }

    /**
     * Makes a request to any endpoint of the API; returns what was decoded, objects as stdClass; null when the response
     * is empty. It is authenticated, retried and bounded like every call.
     *
     * @param string $method GET, POST, PUT, PATCH or DELETE.
     * @param string $path Path of the endpoint, such as "/v1/agents"; percent-encoded where needed, without a query.
     * @param mixed $body The body: anything that can be JSON. null is sent as `null`.
     * @param array<string, mixed>|null $query
     * @param array<string, string|null>|null $headers
     *
     * @throws AntenvException The request failed.
     */
    public function request(
        string $method,
        string $path,
        #[\SensitiveParameter]
        mixed $body = Omit::Omitted,
        ?array $query = null,
        #[\SensitiveParameter]
        ?array $headers = null,
        ?RequestOptions $requestOptions = null,
    ): mixed {
        $params = ['body' => $body, 'query' => $query, 'headers' => $headers];

        return $this->calls->request(
            Calls::withoutNul('method', $method),
            Calls::withoutNul('path', $path),
            $params,
            $requestOptions,
        );
    }

    /**
     * Returns what this client, and the clients that share its connections, did so far in this process, with the names
     * of the C interface.
     *
     * @return array<string, mixed>
     *
     * @throws Exception\Closed This client is closed.
     */
    public function stats(): array
    {
        return (array) Json::plain(Json::decode(Native::text('antenv_client_stats', $this->handle->pointer())));
    }

    /** Frees the client. Later calls throw `Exception\Closed`. Without this it is freed when nothing refers to it. */
    public function close(): void
    {
        $this->handle->free();
    }

    /**
     * Returns the client's handle.
     *
     * @internal
     */
    public function handle(): Handle
    {
        return $this->handle;
    }

    /** @return array<string, bool> */
    public function __debugInfo(): array
    {
        return $this->handle->__debugInfo();
    }

    private function use(Handle $handle): void
    {
        $this->handle = $handle;
        $this->calls = new Calls($handle);
        $this->beta = new Beta($this->calls);
    }
}

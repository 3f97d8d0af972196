<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * A call that was made and failed.
 */
class API extends AntenvException
{
    /** The HTTP status; null when there was no response. */
    public readonly ?int $statusCode;

    /** The API's type of the error, such as "not_found_error". */
    public readonly ?string $type;

    /** The API's code of the cause, such as "environment_not_found"; not all errors have one. */
    public readonly ?string $errorCode;

    /** What else the API reports about the cause. */
    public readonly mixed $details;

    /** The server's identifier of the request, to be named in reports. */
    public readonly ?string $requestID;

    /**
     * The response's headers, names in lower case; empty when there was no response.
     *
     * @var array<string, string>
     */
    public readonly array $headers;

    /** How many milliseconds the server asks to wait before the next attempt; null when it does not. */
    public readonly ?int $retryAfterMs;

    /** How many requests were made, retries included. */
    public readonly int $attempts;

    /** The server's body: decoded JSON, or text when it is not JSON. */
    public readonly mixed $body;

    /** @param array<string, mixed> $fields */
    protected function read(array $fields): void
    {
        $number = static fn (string $name): ?int => is_int($fields[$name] ?? null) ? $fields[$name] : null;
        $headers = $fields['headers'] ?? [];
        $this->statusCode = $number('http_status');
        $this->type = self::text($fields, 'type');
        $this->errorCode = self::text($fields, 'error_code');
        $this->details = $fields['details'] ?? null;
        $this->requestID = self::text($fields, 'request_id');
        /** @var array<string, string> $headers */
        $this->headers = is_array($headers) ? $headers : [];
        $this->retryAfterMs = $number('retry_after_ms');
        $this->attempts = $number('attempts') ?? 0;
        $this->body = $fields['body'] ?? null;
    }
}

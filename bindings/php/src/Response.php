<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Describes the HTTP response to a call that succeeded. An exception has the same of one that failed.
 *
 *     $response = new Response();
 *     $client->beta->environments->list(requestOptions: new RequestOptions(response: $response));
 *     echo $response->requestID;
 */
final class Response
{
    /** The HTTP status; null before the call. */
    public ?int $statusCode = null;

    /** The server's identifier of the request. */
    public ?string $requestID = null;

    /**
     * The headers, with names in lower case.
     *
     * @var array<string, string>
     */
    public array $headers = [];

    /** How many requests were made, retries included. */
    public int $attempts = 0;

    /**
     * Reads the description of a response; returns its result.
     *
     * @internal
     */
    public function read(mixed $fields): mixed
    {
        $plain = is_object($fields) ? get_object_vars($fields) : [];
        $this->statusCode = is_int($plain['http_status'] ?? null) ? $plain['http_status'] : null;
        $this->requestID = is_string($plain['request_id'] ?? null) ? $plain['request_id'] : null;
        /** @var array<string, string> $headers */
        $headers = (array) ($plain['headers'] ?? []);
        $this->headers = $headers;
        $this->attempts = is_int($plain['attempts'] ?? null) ? $plain['attempts'] : 0;

        return $plain['data'] ?? null;
    }
}

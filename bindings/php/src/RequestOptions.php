<?php

declare(strict_types=1);

namespace Antenv;

/**
 * The options of a call, which every operation takes as its last argument.
 *
 *     $client->beta->environments->list(requestOptions: new RequestOptions(timeoutMs: 5_000));
 */
final class RequestOptions
{
    /** @var Hidden<array<string, mixed>> */
    private readonly Hidden $values;

    /**
     * Makes options. What is null is the client's.
     *
     * @param int|null                                          $timeoutMs        Bounds the whole call, retries and waits
     *                                                                            included: 1 to 2147483647.
     * @param int|null                                          $attemptTimeoutMs Bounds one attempt: 1 to 2147483647.
     * @param int|null                                          $maxRetries       How often 408, 409, 429, 5xx and
     *                                                                            connection failures are retried: 0 to 100.
     * @param array<string, string|null>|null                   $extraHeaders     Headers for this call; null as a value
     *                                                                            leaves a default one out.
     * @param array<string, bool|float|int|string|list<bool|float|int|string>>|null $extraQuery More query parameters.
     * @param array<string, mixed>|null                         $extraBody        More members of the body, for fields that
     *                                                                            this version does not know. Sent verbatim.
     * @param string|null                                       $workspaceID      The workspace to act in (`wrkspc_...`).
     * @param Response|null                                     $response         Receives the status, headers and request
     *                                                                            id of the response to a call that succeeds.
     */
    public function __construct(
        ?int $timeoutMs = null,
        ?int $attemptTimeoutMs = null,
        ?int $maxRetries = null,
        #[\SensitiveParameter]
        ?array $extraHeaders = null,
        ?array $extraQuery = null,
        ?array $extraBody = null,
        ?string $workspaceID = null,
        public readonly ?Response $response = null,
    ) {
        $values = [
            'timeout_ms' => $timeoutMs,
            'attempt_timeout_ms' => $attemptTimeoutMs,
            'max_retries' => $maxRetries,
            'extra_headers' => $extraHeaders,
            'extra_query' => $extraQuery,
            'extra_body' => $extraBody,
            'workspace_id' => $workspaceID,
            'with_response' => $response === null ? null : true,
        ];
        $this->values = new Hidden(array_filter($values, static fn (mixed $value): bool => $value !== null));
    }

    /**
     * Returns the options that were given, with the library's names.
     *
     * @internal
     *
     * @return array<string, mixed>
     */
    public function values(): array
    {
        return $this->values->value();
    }
}

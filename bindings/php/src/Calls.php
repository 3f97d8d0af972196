<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Types\Model;

/**
 * Makes the calls of a client, and results of what they return.
 *
 * @internal
 */
final class Calls
{
    public function __construct(public readonly Handle $client)
    {
    }

    /**
     * Calls an operation; returns what was decoded.
     *
     * @param array<string, mixed> $params The operation's parameters, with the API's names.
     *
     * @throws AntenvException The call failed.
     */
    public function make(
        string $operation,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options = null,
    ): mixed {
        $params = self::given($params) + ($options?->values() ?? []);
        $text = Waiter::call('antenv_submit', $this->client, $operation, Json::params($params));
        $result = Json::decode($text);

        return $options?->response === null ? $result : $options->response->read($result);
    }

    /**
     * Calls an operation; returns its result.
     *
     * @template T of Model
     *
     * @param class-string<T>      $class
     * @param array<string, mixed> $params
     *
     * @return T
     */
    public function result(
        string $class,
        string $operation,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options,
    ): Model {
        return $class::of($this->make($operation, $params, $options));
    }

    /**
     * Calls an operation that may return nothing; returns its result.
     *
     * @template T of Model
     *
     * @param class-string<T>      $class
     * @param array<string, mixed> $params
     *
     * @return T|null
     */
    public function resultOrNull(
        string $class,
        string $operation,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options,
    ): ?Model {
        $result = $this->make($operation, $params, $options);

        return $result === null ? null : $class::of($result);
    }

    /**
     * Calls a list operation; returns its first page.
     *
     * @template T of Model
     *
     * @param \Closure(mixed): T   $make   Makes an item of what was decoded.
     * @param array<string, mixed> $params
     *
     * @return PageCursor<T>
     */
    public function page(
        \Closure $make,
        string $operation,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options,
    ): PageCursor {
        $follow = fn (string $page): PageCursor => $this->page($make, $operation, ['page' => $page] + $params, $options);

        return PageCursor::of($this->make($operation, $params, $options), $make, $follow);
    }

    /**
     * Makes a request to any endpoint; returns what was decoded.
     *
     * @param array<string, mixed> $params
     *
     * @throws AntenvException The request failed.
     */
    public function request(
        string $method,
        string $path,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options,
    ): mixed {
        $params = self::given($params) + ($options?->values() ?? []);
        $text = Waiter::call('antenv_submit_request', $this->client, $method, $path, Json::params($params));
        $result = Json::decode($text);

        return $options?->response === null ? $result : $options->response->read($result);
    }

    /**
     * Downloads a file; returns a description of it.
     *
     * @param array<string, mixed> $params
     */
    public function download(
        string $operation,
        #[\SensitiveParameter]
        array $params,
        string $path,
        ?RequestOptions $options,
    ): Types\Download {
        $params = self::given($params) + ($options?->values() ?? []);
        $arguments = [$operation, Json::params($params), self::withoutNul('path', $path)];

        return Types\Download::of(Json::decode(Waiter::call('antenv_download_submit', $this->client, ...$arguments)));
    }

    /**
     * Returns a text that C can take.
     *
     * @throws AntenvException It has a NUL.
     */
    public static function withoutNul(string $parameter, string $text): string
    {
        if (str_contains($text, "\0")) {
            throw AntenvException::argument($parameter, 'must not contain NUL');
        }

        return $text;
    }

    /**
     * Returns the parameters that were given.
     *
     * @param array<string, mixed> $params
     *
     * @return array<string, mixed>
     */
    private static function given(#[\SensitiveParameter] array $params): array
    {
        return array_filter($params, static fn (mixed $value): bool => $value !== Omit::Omitted);
    }
}

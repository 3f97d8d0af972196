<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Types\Model;
use FFI\CData;

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
        return $this->decoded($options, $this->submit('antenv_submit', [$operation], $params, $options));
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
        return $this->decoded($options, $this->submit('antenv_submit_request', [$method, $path], $params, $options));
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
        $path = self::withoutNul('path', $path);
        $text = $this->submit('antenv_download_submit', [$operation], $params, $options, [$path]);

        return Types\Download::of(Json::decode($text));
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
     * Makes a call by one of the library's functions that submit one, and waits for it; returns its JSON.
     *
     * @param list<string>         $before What the function takes between the queue and the parameters.
     * @param array<string, mixed> $params
     * @param list<string>         $after  What it takes between the parameters and the tag.
     */
    private function submit(
        string $function,
        array $before,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options,
        array $after = [],
    ): string {
        $given = array_filter($params, static fn (mixed $value): bool => $value !== Omit::Omitted);
        $arguments = [...$before, Json::params($given + ($options?->values() ?? [])), ...$after, 0, null];

        return Completions::call(fn (?CData $queue, CData $error): int => Native::library()->$function(
            $this->client->pointer(),
            $queue,
            ...[...$arguments, $error],
        ));
    }

    /** Returns what was decoded of the result of a call, whose response the options may receive. */
    private function decoded(?RequestOptions $options, string $text): mixed
    {
        $result = Json::decode($text);

        return $options?->response === null ? $result : $options->response->read($result);
    }
}

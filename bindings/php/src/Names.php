<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Names: camelCase here, with words such as ID in capitals; snake_case in the API and in the library.
 *
 * @internal
 */
final class Names
{
    private const CAPITALS = ['id', 'ids', 'http', 'mcp', 'sha256', 'ttl', 'url'];

    /** The words in backquotes of the library's messages that are values of the API. */
    private const VALUES = ['search_result', 'params_json', 'self_hosted'];

    /** @var array<string, string> */
    private static array $snake = [];

    /** Returns `environment_id` for `environmentID`. A name that is snake_case already stays as it is. */
    public static function snake(string $name): string
    {
        return self::$snake[$name] ??= strtolower(
            (string) preg_replace('/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z](?!$))/', '_', $name)
        );
    }

    /** Returns `environmentID` for `environment_id`. */
    public static function camel(string $name): string
    {
        $words = preg_split('/[^A-Za-z0-9]+/', $name, -1, PREG_SPLIT_NO_EMPTY) ?: [];
        $first = (string) array_shift($words);
        $spelt = array_map(
            static fn (string $word): string => match (true) {
                $word === 'ids' => 'IDs',
                in_array($word, self::CAPITALS, true) => strtoupper($word),
                default => ucfirst($word),
            },
            $words,
        );

        return $first . implode('', $spelt);
    }

    /** Returns a message of the library with the names of this package. */
    public static function inMessage(string $message): string
    {
        return (string) preg_replace_callback(
            '/`([a-z][a-z0-9]*(?:_[a-z0-9]+)+|created_at\[\w+\])`/',
            static fn (array $name): string => in_array($name[1], self::VALUES, true)
                ? $name[0]
                : '`' . self::camel($name[1]) . '`',
            $message,
        );
    }
}

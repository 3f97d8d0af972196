<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\APIResponseValidation;
use Antenv\Exception\AntenvException;

/**
 * JSON: parameters on their way in, results on their way out.
 *
 * An array of PHP may be an object or an array of JSON. Where the API has an object it becomes one, even if it is empty or
 * a list; elsewhere a list is an array. Objects are decoded as stdClass, which keeps `{}` and `[]` apart.
 *
 * @internal
 */
final class Json
{
    /** The members that hold objects: an empty array there is `{}`, a list an object with the keys "0", "1", .... */
    private const OBJECTS = [
        'agent', 'budget', 'config', 'default_headers', 'extra_body', 'extra_headers', 'extra_query', 'headers',
        'input', 'input_schema', 'metadata', 'networking', 'packages', 'precondition', 'query',
    ];

    /** The members whose contents have names of the user's own. */
    private const VERBATIM = [
        'body', 'default_headers', 'extra_body', 'extra_headers', 'extra_query', 'headers', 'input', 'input_schema',
        'metadata', 'query',
    ];

    private const ENCODE = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_LINE_TERMINATORS
        | JSON_PRESERVE_ZERO_FRACTION | JSON_THROW_ON_ERROR;
    private const DEPTH = 10_000;

    /**
     * Returns parameters as the library takes them: with the API's names, and with objects where they belong.
     *
     * @param array<string, mixed> $params
     *
     * @throws AntenvException A value cannot be JSON.
     */
    public static function params(#[\SensitiveParameter] array $params): string
    {
        $params = self::renamed($params);
        try {
            return json_encode((object) $params, self::ENCODE, self::DEPTH);
        } catch (\JsonException $why) {
            throw self::unusable($params, $why);
        }
    }

    /** Returns any value as JSON, as it is. */
    public static function encode(mixed $value): string
    {
        return json_encode($value, self::ENCODE, self::DEPTH);
    }

    /** Decodes JSON of the library. A number that is too large for an int is a string of its digits. */
    public static function decode(string $text): mixed
    {
        try {
            return json_decode($text, false, self::DEPTH, JSON_BIGINT_AS_STRING | JSON_THROW_ON_ERROR);
        } catch (\JsonException $why) { // what the library takes and PHP does not, such as a name that begins with NUL
            throw new APIResponseValidation('PHP cannot decode the response: ' . $why->getMessage(), [
                'code' => 7,
                'status' => 'response',
            ], $why);
        }
    }

    /** Returns what was decoded with arrays in place of objects. */
    public static function plain(mixed $value): mixed
    {
        if ($value instanceof \stdClass) {
            $value = (array) $value;
        }

        return is_array($value) ? array_map(self::plain(...), $value) : $value;
    }

    /** @param array<mixed> $value */
    private static function member(string|int $name, array $value): mixed
    {
        if (!in_array($name, self::VERBATIM, true)) {
            $value = self::renamed($value);
        }

        return in_array($name, self::OBJECTS, true) ? (object) $value : $value;
    }

    /**
     * Returns an array with the API's names, and with objects where they belong.
     *
     * @param array<mixed> $value
     *
     * @return array<mixed>
     */
    private static function renamed(array $value): array
    {
        $renamed = [];
        foreach ($value as $name => $member) {
            $name = is_string($name) ? Names::snake($name) : $name;
            $renamed[$name] = is_array($member) ? self::member($name, $member) : $member;
        }

        return $renamed;
    }

    /** @param array<string, mixed> $params */
    private static function unusable(#[\SensitiveParameter] array $params, \JsonException $why): AntenvException
    {
        $problem = match ($why->getCode()) {
            JSON_ERROR_UTF8 => 'must be valid UTF-8',
            JSON_ERROR_INF_OR_NAN => 'must not be INF or NAN',
            default => 'cannot be JSON: ' . $why->getMessage(),
        };
        foreach ($params as $name => $value) {
            try {
                self::encode($value);
            } catch (\JsonException) {
                return AntenvException::argument((string) $name, $problem);
            }
        }

        return AntenvException::argument('params', $problem);
    }
}

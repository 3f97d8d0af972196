<?php

declare(strict_types=1);

namespace Antenv\Tools;

use Antenv\Document;
use Antenv\Image;

/**
 * What tools return, as the content of a tool's result.
 *
 * @internal
 */
final class Content
{
    /** The blocks of results, each with the member that makes an array one. */
    private const BLOCKS = ['text' => 'text', 'image' => 'source', 'document' => 'source', 'search_result' => 'source'];

    /** Returns a result as the library takes it. Throws \InvalidArgumentException for what no result can hold. */
    public static function encoded(mixed $value, bool $isError = false): string
    {
        return self::json(['content' => self::of($value), 'is_error' => $isError]);
    }

    /** @return string|list<mixed> */
    private static function of(mixed $value): string|array
    {
        if ($value === null) {
            return ''; // of which the library makes "(no output)"
        }
        if (\is_string($value)) {
            return $value;
        }
        if ($value instanceof \Stringable && !$value instanceof \JsonSerializable) {
            return (string) $value;
        }
        $block = self::block($value);
        if ($block !== null) {
            return [$block];
        }
        if (\is_array($value) && array_is_list($value) && array_filter($value, self::block(...)) !== []) {
            return array_map(self::blockOf(...), $value);
        }
        return self::json($value);
    }

    private static function blockOf(mixed $value): mixed
    {
        return self::block($value) ?? ['type' => 'text', 'text' => \is_string($value) ? $value : self::json($value)];
    }

    /** @return array<mixed>|null The block that a value stands for. */
    private static function block(mixed $value): ?array
    {
        if ($value instanceof Image || $value instanceof Document) {
            return $value->block;
        }
        $member = \is_array($value) && \is_string($value['type'] ?? null) ? self::BLOCKS[$value['type']] ?? null : null;
        return $member !== null && isset($value[$member]) ? $value : null;
    }

    private static function json(mixed $value): string
    {
        self::check($value);
        try {
            $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION;
            return json_encode($value, $flags);
        } catch (\JsonException $error) {
            $advice = $error->getCode() === JSON_ERROR_UTF8
                ? 'bytes that are not UTF-8: Antenv\Image and Antenv\Document take them'
                : lcfirst($error->getMessage());
            throw new \InvalidArgumentException("a tool cannot return $advice", 0, $error);
        }
    }

    /** Throws for values of which json_encode() would make `{}`, as it does of closures. */
    private static function check(mixed $value): void
    {
        if (\is_array($value)) {
            array_walk($value, self::check(...));
        } elseif (\is_resource($value) || $value instanceof \Closure || $value instanceof \Traversable) {
            throw new \InvalidArgumentException('a tool cannot return ' . get_debug_type($value));
        }
    }
}

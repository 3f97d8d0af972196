<?php

declare(strict_types=1);

namespace Antenv\Tools;

/**
 * A value that is not what its type says. The message names the member and says what it must be.
 *
 * @internal
 */
final class Mismatch extends \Exception
{
    /** The longest part of a wrong value that a message shows, in bytes. */
    private const SHOWN = 60;

    public static function of(mixed $value, string $where, string $words): self
    {
        $text = json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION);
        $text = $text === false ? get_debug_type($value) : $text;
        if (\strlen($text) > self::SHOWN) {
            // Not within a character: a text that is no UTF-8 could not be sent.
            $text = preg_replace('/[\x80-\xBF]*\z/', '', substr($text, 0, self::SHOWN));
            $text = preg_replace('/[\xC0-\xFF]\z/', '', (string) $text) . '...';
        }
        return new self(($where === '' ? 'the input' : $where) . " must be $words, not $text");
    }
}

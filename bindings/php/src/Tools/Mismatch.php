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
            $text = substr($text, 0, self::SHOWN);
            while (preg_match('//u', $text) !== 1) { // cut within a character
                $text = substr($text, 0, -1);
            }
            $text .= '...';
        }
        return new self(($where === '' ? 'the input' : $where) . " must be $words, not $text");
    }
}

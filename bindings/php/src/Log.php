<?php

declare(strict_types=1);

namespace Antenv;

/**
 * What happened to a tool, a handler or an item while the program goes on: PHP's error log gets it.
 *
 * @internal
 */
final class Log
{
    public static function warning(string $what, ?\Throwable $why = null): void
    {
        // No trace: it would show arguments, which may be secrets.
        $cause = $why === null
            ? ''
            : sprintf(': %s: %s in %s:%d', $why::class, $why->getMessage(), $why->getFile(), $why->getLine());
        error_log("antenv: $what$cause");
    }
}

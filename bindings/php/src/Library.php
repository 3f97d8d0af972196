<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\APITimeout;
use Antenv\Exception\AntenvException;

/**
 * The native library as such.
 */
final class Library
{
    /** Returns its version, such as "0.1.0". */
    public static function version(): string
    {
        return Native::library()->antenv_version();
    }

    /** Returns the path that it is loaded from, or the name by which the system finds it. */
    public static function path(): string
    {
        return Native::path();
    }

    /**
     * Shuts the library down: waits for calls in flight, cancels what is left when the time is up, closes all connections and
     * ends the library's thread. Nothing has to call this: a program may end at any time. A later call starts the library again.
     *
     * @param int $timeoutMs How long to wait: 0 cancels calls in flight at once, -1 waits for as long as they take.
     *
     * @throws APITimeout Calls had to be cancelled; the library is shut down nevertheless.
     * @throws AntenvException `timeoutMs` is invalid.
     */
    public static function shutdown(int $timeoutMs = 0): void
    {
        $status = Native::library()->antenv_shutdown($timeoutMs);
        if ($status !== Native::OK) {
            throw AntenvException::of($status, '');
        }
    }
}

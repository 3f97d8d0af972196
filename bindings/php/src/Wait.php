<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Waits in the library.
 *
 * PHP runs the handler of a signal between two of its instructions: a function that blocks keeps it from running. So a
 * wait is cut into slices. A signal ends the slice in which it arrives; one that arrives just before a slice has to
 * wait for its end.
 *
 * @internal
 */
final class Wait
{
    /** How long a slice is, in milliseconds. */
    private const SLICE_MS = 50;

    /**
     * Waits with a function of the library; returns its last status.
     *
     * @param callable(int): int $wait Waits for so many milliseconds, and returns the status.
     * @param int|null $timeoutMs How long to wait in all; null: without an end.
     */
    public static function until(callable $wait, ?int $timeoutMs): int
    {
        $deadline = $timeoutMs === null ? null : hrtime(true) + $timeoutMs * 1_000_000;
        while (true) {
            $left = $deadline === null ? PHP_INT_MAX : (int) ceil(max(0, $deadline - hrtime(true)) / 1_000_000);
            $status = $wait(min($left, self::SLICE_MS));
            Log::pass();
            if ($status !== Native::INTERRUPTED && ($status !== Native::TIMEOUT || $left <= self::SLICE_MS)) {
                return $status;
            }
            self::runHandlers();
        }
    }

    /**
     * Runs the handlers of signals that have arrived, also where the program has not turned on pcntl_async_signals().
     */
    private static function runHandlers(): void
    {
        if (\function_exists('pcntl_signal_dispatch')) {
            pcntl_signal_dispatch();
        }
    }
}

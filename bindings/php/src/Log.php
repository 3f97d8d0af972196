<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;

/**
 * The log of the library and of this package: retries, failed polls, lost leases, tools that fail.
 *
 *     Antenv\Log::to(fn (Antenv\LogRecord $record) => $logger->log($record->psrLevel(), (string) $record), 'info');
 *
 * Without that, the log has only what this package reports, such as a tool that fails: PHP's error log gets it.
 */
final class Log
{
    /** @var (\Closure(LogRecord): mixed)|null */
    private static ?\Closure $sink = null;
    private static ?Completions $queue = null;
    private static bool $isPassing = false;
    private static bool $isRegistered = false;

    /**
     * Passes the log to a function. It is called in the program's own thread: while that waits in the library, after each
     * of its calls, and when the script ends. What it throws ends the wait. No record ever holds a secret.
     *
     * @param (callable(LogRecord): mixed)|null $sink In place of an earlier one. null: none.
     * @param string $filter "error", "warn", "info", "debug" or "trace"; or such a level for a part of the library, as in
     *     "antenv::client=debug"; or several of these, separated by commas.
     *
     * @throws Exception\InvalidArgument The filter is none.
     */
    public static function to(?callable $sink, string $filter = 'warn'): void
    {
        $queue = self::$queue ?? new Completions();
        $error = Native::pointer('char *');
        $status = Native::library()->antenv_log_subscribe(
            $queue->pointer(),
            $sink === null ? 'off' : Calls::withoutNul('filter', $filter),
            0,
            Native::address($error),
        );
        $text = Native::take($error);
        if ($status !== Native::OK) {
            throw AntenvException::of($status, $text);
        }
        self::$sink = $sink === null ? null : $sink(...);
        self::$queue = $sink === null ? null : $queue;
        if (!self::$isRegistered) {
            self::$isRegistered = true;
            register_shutdown_function(self::pass(...));
        }
    }

    /**
     * Passes on the records that wait.
     *
     * @internal
     */
    public static function pass(): void
    {
        if (self::$queue === null || self::$isPassing) { // the function may itself make calls
            return;
        }
        self::$isPassing = true;
        try {
            while (($text = self::$queue?->take()) !== null) {
                $fields = (array) Json::plain(Json::decode($text));
                (self::$sink)(new LogRecord(...$fields));
            }
        } finally {
            self::$isPassing = false;
        }
    }

    /**
     * Reports what happened to a tool, a handler or an item while the program goes on.
     *
     * @internal
     *
     * @param array<string, string> $fields
     */
    public static function warning(string $target, string $message, array $fields, \Throwable $why): void
    {
        // No trace: it would show arguments, which may be secrets.
        $fields['why'] = sprintf('%s: %s in %s:%d', $why::class, $why->getMessage(), $why->getFile(), $why->getLine());
        $record = new LogRecord(gmdate('Y-m-d\TH:i:s\Z'), 'warn', $target, $message, $fields);
        if (self::$sink === null) {
            error_log("antenv: $record");
        } else {
            (self::$sink)($record);
        }
    }
}

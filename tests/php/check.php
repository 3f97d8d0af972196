<?php

/**
 * What the PHP tests share: a test is a sentence and a function, and a script of tests ends in `N passed, N failed`.
 */

declare(strict_types=1);

require_once dirname(__DIR__, 2) . '/bindings/php/autoload.php';

/** Counts the tests; its end reports them. */
final class Tests
{
    public static int $passed = 0;
    public static int $failed = 0;

    /** Ends a script of tests: reports how many passed and failed, and returns the exit code. */
    public static function end(): never
    {
        printf("%d passed, %d failed\n", self::$passed, self::$failed);
        exit(self::$failed === 0 && self::$passed > 0 ? 0 : 1);
    }
}

/** Thrown by a check that fails. */
final class CheckFailed extends RuntimeException
{
}

/** Runs a test. */
function test(string $sentence, callable $body): void
{
    try {
        $body();
        Tests::$passed++;
    } catch (Throwable $failure) {
        Tests::$failed++;
        fprintf(STDERR, "FAILED: %s\n%s: %s at %s\n", $sentence, $failure::class, $failure->getMessage(), place($failure));
    }
}

/** Returns where in a test something failed. */
function place(Throwable $failure): string
{
    foreach ([['file' => $failure->getFile(), 'line' => $failure->getLine()], ...$failure->getTrace()] as $frame) {
        if (isset($frame['file']) && $frame['file'] !== __FILE__ && str_contains($frame['file'], '/tests/')) {
            return basename($frame['file']) . ':' . ($frame['line'] ?? 0);
        }
    }

    return $failure->getFile() . ':' . $failure->getLine();
}

/** Checks that two values are identical. */
function same(mixed $expected, mixed $found, string $what = 'value'): void
{
    if ($expected !== $found) {
        throw new CheckFailed("$what is " . var_export($found, true) . ' and not ' . var_export($expected, true));
    }
}

/** Checks that something is true. */
function check(bool $true, string $what): void
{
    if (!$true) {
        throw new CheckFailed("not so: $what");
    }
}

/**
 * Checks that a function throws an exception of a class; returns the exception.
 *
 * @template T of Throwable
 *
 * @param class-string<T> $class
 *
 * @return T
 */
function thrown(string $class, callable $body): Throwable
{
    try {
        $body();
    } catch (Throwable $found) {
        if ($found instanceof $class) {
            return $found;
        }
        throw new CheckFailed("$class was expected, and not " . $found::class . ': ' . $found->getMessage());
    }
    throw new CheckFailed("$class was expected, and nothing was thrown");
}

<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use FFI\CData;

/**
 * Makes calls that block: each is submitted to a completion queue, and its completion awaited there.
 *
 * That is for the sake of signals: a function that blocks inside the library keeps PHP's signal handlers, and its time
 * limit, waiting until it returns, while a wait at a queue ends when a signal arrives.
 *
 * @internal
 */
final class Waiter
{
    /** The most idle ones that are kept: each has a descriptor. */
    private const MAX_IDLE = 8;

    /**
     * The idle ones. A signal handler may make a call while the call that it interrupted waits; it takes another one.
     *
     * @var list<self>
     */
    private static array $idle = [];

    private readonly Handle $queue;
    private readonly CData $done;
    private readonly CData $outDone;
    private readonly CData $error;
    private readonly CData $outError;

    private function __construct()
    {
        $this->queue = Native::handle('queue', 'antenv_queue_new');
        $this->done = Native::variable('antenv_completion');
        $this->outDone = Native::address($this->done);
        $this->error = Native::pointer('char *');
        $this->outError = Native::address($this->error);
    }

    /**
     * Makes a call and waits for it; returns its JSON.
     *
     * @param string $submit       The library's function that submits it.
     * @param Handle $handle       The handle that it is called with.
     * @param string ...$arguments Its arguments after the queue.
     *
     * @throws AntenvException The call failed.
     */
    public static function call(string $submit, Handle $handle, #[\SensitiveParameter] string ...$arguments): string
    {
        // A waiter that is left by an exception is not used again: its queue is freed, which cancels the call.
        $waiter = array_pop(self::$idle) ?? new self();
        [$status, $text] = $waiter->run($submit, $handle, $arguments);
        if (count(self::$idle) < self::MAX_IDLE) {
            self::$idle[] = $waiter;
        }
        if ($status !== Native::OK) {
            throw AntenvException::of($status, $text);
        }

        return $text;
    }

    /**
     * @param array<string> $arguments
     *
     * @return array{int, string}
     */
    private function run(string $submit, Handle $handle, #[\SensitiveParameter] array $arguments): array
    {
        $library = Native::library();
        $queue = $this->queue->pointer();
        $status = $library->$submit($handle->pointer(), $queue, ...[...$arguments, 0, null, $this->outError]);
        if ($status !== Native::OK) {
            return [$status, Native::take($this->error)];
        }
        // PHP runs signal handlers between two statements, and so in this loop.
        do {
            $status = $library->antenv_queue_next($queue, -1, $this->outDone);
        } while ($status === Native::INTERRUPTED);
        if ($status !== Native::OK) {
            return [$status, ''];
        }

        return [$this->done->status, Native::take($this->done->json)];
    }
}

<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use FFI\CData;

/**
 * A completion queue of the library.
 *
 * @internal
 */
final class Completions
{
    use Uncopyable;

    /** The most idle ones that are kept: each has a descriptor. */
    private const MAX_IDLE = 8;

    /** @var list<self> Those that `call` has used and uses again. */
    private static array $idle = [];

    private readonly Handle $handle;
    /** Where the library writes a completion. */
    private readonly CData $done;
    /** Where it writes an error. */
    private readonly CData $error;

    public function __construct()
    {
        $this->handle = Native::handle('queue', 'antenv_queue_new');
        $this->done = Native::variable('antenv_completion');
        $this->error = Native::pointer('char *');
    }

    /** Returns the handle as the library's functions take it. */
    public function pointer(): ?CData
    {
        return $this->handle->pointer();
    }

    /**
     * Takes the next completion.
     *
     * @param int|null $timeoutMs How long to wait; null: without an end.
     *
     * @return array{int, int, string}|null The tag, the status and the text; null when none came in time.
     */
    public function next(?int $timeoutMs = null): ?array
    {
        $address = Native::address($this->done);
        $status = Wait::until(
            fn (int $turn): int => Native::library()->antenv_queue_next($this->handle->pointer(), $turn, $address),
            $timeoutMs,
        );
        return match ($status) {
            Native::OK => [$this->done->tag, $this->done->status, Native::take($this->done->json)],
            Native::TIMEOUT => null,
            default => throw AntenvException::of($status, ''),
        };
    }

    /** Takes the text of the next completion if one is there; null if not. Does not wait. */
    public function take(): ?string
    {
        $address = Native::address($this->done);
        $status = Native::library()->antenv_queue_next($this->handle->pointer(), 0, $address);
        return $status === Native::OK ? Native::take($this->done->json) : null;
    }

    /** Returns the descriptor to watch. */
    public function descriptor(): int
    {
        return Native::library()->antenv_queue_fd($this->handle->pointer());
    }

    /** Frees the queue, which cancels what is in flight through it. */
    public function free(): void
    {
        $this->handle->free();
    }

    /**
     * Makes a call of a function that submits it and waits for its completion; returns its text or throws its error.
     *
     * A function that blocks in the library would keep PHP's signal handlers, and its time limit, waiting until it
     * returns. A signal handler that throws ends the wait, and frees the queue, which cancels the call.
     *
     * @param callable(?CData, CData): int $submit Gets the queue, and where to write an error; returns the status.
     *
     * @throws AntenvException The call failed.
     */
    public static function call(#[\SensitiveParameter] callable $submit): string
    {
        // A signal handler may make a call while the one that it interrupted waits: it takes another queue.
        $queue = array_pop(self::$idle) ?? new self();
        $status = $submit($queue->handle->pointer(), Native::address($queue->error));
        $text = Native::take($queue->error);
        if ($status === Native::OK) {
            [, $status, $text] = $queue->next() ?? throw new \LogicException('a wait without an end has ended');
        }
        if (\count(self::$idle) < self::MAX_IDLE) {
            self::$idle[] = $queue;
        }
        return $status === Native::OK ? $text : throw AntenvException::of($status, $text);
    }
}

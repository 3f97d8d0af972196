<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Exception\WaitTimeout;

/**
 * Serves the work queue of a self-hosted environment; `$client->worker()` makes one.
 *
 *     pcntl_async_signals(true);
 *     pcntl_signal(SIGTERM, fn () => $worker->stop());
 *     foreach ($worker as $lease) {
 *         // serve $lease->sessionID
 *     }
 *
 * It claims an item when the program waits for one. The loop finishes each item when its body is done with it, also by
 * `break`, `exit` or an exception; it ends when the worker was stopped or the work queue is drained, and throws the
 * error that ended the worker.
 *
 * @implements \IteratorAggregate<int, Lease>
 */
final class Worker implements \IteratorAggregate
{
    use Uncopyable;

    private readonly Handle $handle;

    /**
     * Use `$client->worker()`.
     *
     * @internal
     *
     * @param string $config Its configuration, as JSON.
     */
    public function __construct(Handle $client, #[\SensitiveParameter] string $config)
    {
        $this->handle = Native::handle('worker', 'antenv_worker_new', $client->pointer(), $config);
    }

    /**
     * Waits for the next item; returns its lease, or null when no more items are to come.
     *
     * @param int|null $timeoutMs How long to wait; null: without an end.
     *
     * @throws WaitTimeout No item came in time. The message says why the last poll failed, if it did.
     * @throws AntenvException The error that ended the worker, such as Authentication: from then on every time.
     */
    public function next(?int $timeoutMs = null): ?Lease
    {
        [$lease, $text] = [Native::pointer('antenv_lease *'), Native::pointer('char *')];
        $handle = new Handle($lease, 'antenv_lease_abandon'); // it is abandoned even if a signal handler throws
        $out = [Native::address($lease), Native::address($text)];
        $status = Wait::until(
            fn (int $turn): int => Native::library()->antenv_worker_next($this->handle->pointer(), $turn, ...$out),
            $timeoutMs,
        );
        $answer = Native::take($text);
        return match ($status) {
            Native::OK => new Lease($handle, $answer, $this),
            Native::DONE, Native::INVALID_HANDLE => null, // stopped, drained, or closed
            Native::TIMEOUT => throw $this->nothingWithin((int) $timeoutMs),
            default => throw AntenvException::of($status, $answer),
        };
    }

    /**
     * Serves item after item; see the class.
     *
     * @return \Generator<int, Lease>
     */
    public function getIterator(): \Generator
    {
        while (($lease = $this->next()) !== null) {
            try {
                yield $lease;
            } finally {
                $lease->end();
            }
        }
    }

    /**
     * Serves items until no more are to come and all are served.
     *
     * With a handler, one item is served after the other. With tools, up to `concurrency` sessions are served at the
     * same time, in the program's one thread: while a tool runs, calls of the other sessions wait. To serve more at a
     * time, run more processes.
     *
     * What a handler throws is written to PHP's error log, and the next item is served. Only an `Interrupt` ends this.
     *
     * @param (callable(Lease): mixed)|null $handler Called with each lease.
     * @param iterable<mixed>|null $tools In place of a handler: the tools to serve the items' sessions with, as for
     *     `Lease::serve`.
     * @param string $onError What happens to an item whose handler throws, or whose session fails: "finish" stops it,
     *     so that it is not served again; "abandon" leaves it to the work queue, which hands it out again when its
     *     lease has expired.
     * @param mixed ...$options With tools: the other arguments of `Lease::serve`, by name, of which `workdir` may be a
     *     function that gets the lease and returns the directory; and `onEnd`, called with the lease of each session that
     *     is over and why it is: what `Lease::serve` returns, null when it failed.
     *
     * @throws \InvalidArgumentException There are both a handler and tools, or neither; `onError` or one of the tools
     *     is invalid.
     * @throws AntenvException The error that ended the worker; Config for an option that is invalid.
     */
    public function run(?callable $handler = null, ?iterable $tools = null, string $onError = 'finish', mixed ...$options): void
    {
        if (($handler === null) === ($tools === null)) {
            throw new \InvalidArgumentException('run takes either a handler or tools');
        }
        if (!\in_array($onError, ['finish', 'abandon'], true)) {
            throw new \InvalidArgumentException("onError must be \"finish\" or \"abandon\", not \"$onError\"");
        }
        if ($tools !== null) {
            (new Serving($this, ToolFunction::all($tools), $onError, $options))->run();
            return;
        }
        if ($options !== []) {
            throw new \InvalidArgumentException(implode(', ', array_keys($options)) . ': only with tools, not with a handler');
        }
        foreach ($this as $lease) {
            try {
                $handler($lease);
            } catch (Interrupt $interrupt) {
                throw $interrupt;
            } catch (\Throwable $failure) {
                $lease->endFailed($failure, $onError);
            }
        }
    }

    /**
     * Stops the worker: it claims no more. Items that it has claimed are still handed out.
     *
     * Leases go on until they are finished. When `graceMs` is over, those that are left are to be stopped. Stopping
     * twice changes nothing. Does not block; a signal handler may call it.
     */
    public function stop(): void
    {
        $status = Native::library()->antenv_worker_stop($this->handle->pointer());
        if (!\in_array($status, [Native::OK, Native::INVALID_HANDLE], true)) { // a closed one is stopped
            throw AntenvException::of($status, '');
        }
    }

    /**
     * Returns the worker's counters and its state. Does not block.
     *
     * @return array<string, mixed> Those of `antenv_worker_stats`, with its names.
     */
    public function stats(): array
    {
        return Json::plain(Json::decode(Native::text('antenv_worker_stats', $this->handle->pointer())));
    }

    /** Returns the same as text for Prometheus. Does not block. */
    public function metrics(): string
    {
        return Native::text('antenv_worker_metrics', $this->handle->pointer());
    }

    /** Stops and frees the worker. Leases go on until they are finished or `graceMs` is over. Does not block. */
    public function close(): void
    {
        $this->handle->free();
    }

    /**
     * Delivers items through a queue.
     *
     * @internal
     */
    public function attach(Completions $queue, int $tag): void
    {
        $status = Native::library()->antenv_worker_attach($this->handle->pointer(), $queue->pointer(), $tag);
        if ($status !== Native::OK) {
            throw AntenvException::of($status, '');
        }
    }

    private function nothingWithin(int $timeoutMs): WaitTimeout
    {
        $why = $this->stats()['last_poll_failure'];
        return new WaitTimeout("no work came within $timeoutMs ms" . ($why === null ? '' : "; the last poll failed: $why"));
    }
}

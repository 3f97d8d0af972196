<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Exception\Config;
use Antenv\Exception\WaitTimeout;

/**
 * Serves the sessions of a worker's items in one thread: all that happens to them arrives on one completion queue.
 *
 * @internal
 */
final class Serving
{
    private const OPTIONS = [
        'traces', 'concurrency', 'maxIdleMs', 'toolTimeoutMs', 'toolset', 'workdir', 'sandbox', 'toolsetPath', 'skills', 'memory',
        'onEnd',
    ];

    private readonly Completions $queue;
    private readonly bool $traces;
    /** @var \Closure|null Called with the lease of each session that is over, and why it is. */
    private readonly ?\Closure $onEnd;
    /** @var array<string, mixed> */
    private readonly array $options;
    private int $lastTag = 0;
    /** @var array<int, \Closure(int, string): void> What to do with the completions of a tag. */
    private array $handlers = [];
    /** @var array<int, array{Lease, ServedSession}> The sessions that are served, by tag. */
    private array $sessions = [];
    private bool $isWorkerDone = false;
    /** Whether something has ended all this: no more sessions are begun. */
    private bool $isEnding = false;
    private ?AntenvException $failure = null;

    /**
     * @param array<string, ToolFunction> $tools
     * @param array<mixed> $options The arguments of Lease::serve.
     */
    public function __construct(
        private readonly Worker $worker,
        private readonly array $tools,
        private readonly string $onError,
        array $options,
    ) {
        $unknown = array_diff(array_keys($options), self::OPTIONS);
        if ($unknown !== []) {
            throw new \InvalidArgumentException(
                implode(', ', $unknown) . ': unknown; known are: ' . implode(', ', self::OPTIONS),
            );
        }
        $this->traces = (bool) ($options['traces'] ?? false);
        $this->onEnd = isset($options['onEnd']) ? $options['onEnd'](...) : null;
        unset($options['traces'], $options['onEnd']);
        $this->options = array_combine(array_map(Names::snake(...), array_keys($options)), $options);
        $this->queue = new Completions();
    }

    /** Serves until no more items are to come and all are served. Throws the error that ended the worker. */
    public function run(): void
    {
        try {
            $this->worker->attach($this->queue, $this->onCompletion($this->onItem(...)));
            while (!$this->isWorkerDone || $this->handlers !== []) {
                $this->handleNext();
            }
        } finally {
            $this->finishAll();
        }
        if ($this->failure !== null) {
            throw $this->failure;
        }
    }

    private function handleNext(): void
    {
        [$tag, $status, $text] = $this->queue->next() ?? throw new \LogicException('a wait without an end has ended');
        if (isset($this->handlers[$tag])) { // else it is about a session that is over
            $this->handlers[$tag]($status, $text, $tag);
        }
    }

    /** @param \Closure(int, string, int): void $handler Gets the status, the text and the tag of each completion. */
    private function onCompletion(\Closure $handler): int
    {
        $this->handlers[++$this->lastTag] = $handler;
        return $this->lastTag;
    }

    /** Takes an item, or the end of the worker. */
    private function onItem(int $status, string $text, int $tag): void
    {
        if ($status !== Native::OK) {
            $this->isWorkerDone = true;
            unset($this->handlers[$tag]);
            $this->failure ??= $status === Native::DONE ? null : AntenvException::of($status, $text);
            return;
        }
        try {
            $lease = $this->worker->next(0);
        } catch (WaitTimeout) {
            return; // it was returned to the work queue meanwhile
        }
        if ($lease !== null && !$this->isEnding) {
            $this->begin($lease);
        } // else the lease is destroyed here, which abandons it
    }

    private function begin(Lease $lease): void
    {
        try {
            $session = $lease->open($this->tools, $this->traces, $this->optionsOf($lease));
        } catch (Config $wrong) { // what is wrong for one session is wrong for all
            $this->failure ??= $wrong;
            $lease->abandon();
            $this->worker->stop();
            return;
        } catch (Interrupt $interrupt) {
            throw $interrupt;
        } catch (\Throwable $failure) {
            $this->end($lease, null, $failure);
            return;
        }
        $tag = $this->onCompletion($this->onCall(...));
        $this->sessions[$tag] = [$lease, $session];
        $session->attach($this->queue, $tag);
    }

    /** @return array<string, mixed> */
    private function optionsOf(Lease $lease): array
    {
        $workdir = $this->options['workdir'] ?? null;
        return $workdir instanceof \Closure ? ['workdir' => $workdir($lease)] + $this->options : $this->options;
    }

    /** Takes a call of a session, or its end. */
    private function onCall(int $status, string $text, int $tag): void
    {
        [$lease, $session] = $this->sessions[$tag];
        [$taken, $failure] = [null, null];
        try {
            $taken = $session->next(0);
            if ($taken instanceof ToolCall) {
                $this->answer($session, $taken);
            }
            if (!\is_string($taken)) {
                return; // a call that became void meanwhile is not there any more
            }
        } catch (AntenvException $error) {
            $failure = $error;
        }
        $session->close();
        unset($this->sessions[$tag], $this->handlers[$tag]);
        $this->end($lease, \is_string($taken) ? $taken : null, $failure);
    }

    /** Runs a tool, and begins to post its result: meanwhile the other sessions go on. */
    private function answer(ServedSession $session, ToolCall $call): void
    {
        $result = $session->resultOf($call);
        // A reply that is not posted is no failure: the call is void, or the library keeps the result and posts it later.
        $call->submitReply($result, $this->queue, 0);
    }

    /** Ends the item of a session that is over, which is why, or that has failed. */
    private function end(Lease $lease, ?string $reason, ?\Throwable $failure): void
    {
        if ($failure !== null) {
            $lease->endFailed($failure, $this->onError);
        }
        $tag = $this->onCompletion(function (int $status, string $text, int $tag) use ($lease, $reason): void {
            unset($this->handlers[$tag]);
            if ($status !== Native::OK) {
                $lease->logUnfinished(AntenvException::of($status, $text));
            }
            $this->reportEnd($lease, $reason);
        });
        $error = Native::pointer('char *');
        if ($lease->submitFinish(null, $this->queue->pointer(), $tag, Native::address($error)) !== Native::OK) {
            unset($this->handlers[$tag]); // it has ended
            $this->reportEnd($lease, $reason);
        }
        Native::take($error);
    }

    /** Calls the program's function for the end of a session, whose toolset has ended, too. */
    private function reportEnd(Lease $lease, ?string $reason): void
    {
        if ($this->onEnd === null) {
            return;
        }
        try {
            ($this->onEnd)($lease, $reason);
        } catch (Interrupt $interrupt) {
            throw $interrupt;
        } catch (\Throwable $failure) {
            Log::warning('antenv::worker', 'onEnd failed', ['work_id' => $lease->id], $failure);
        }
    }

    /** Finishes the items of the sessions that are left, when something has ended all this. */
    private function finishAll(): void
    {
        $this->isEnding = true;
        foreach ($this->sessions as $tag => [$lease, $session]) {
            $session->close();
            unset($this->sessions[$tag], $this->handlers[$tag]);
            $this->end($lease, null, null);
        }
        if (!$this->isWorkerDone) {
            $this->worker->stop();
        }
        while ($this->handlers !== []) {
            $this->handleNext();
        }
    }
}

<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Exception\LeaseLost;
use Antenv\Types\Handover;
use Antenv\Types\LeaseState;
use Antenv\Types\Work;

/**
 * A lease on a work item. The library keeps it by heartbeats until it is finished, whatever the program does.
 *
 *     foreach ($client->worker() as $lease) {
 *         // serve $lease->sessionID
 *     }
 *
 * The loop finishes it, which stops the item. A lease that is destroyed without that is abandoned.
 */
final class Lease
{
    use Uncopyable;

    /** The item's identifier (`work_...`). */
    public readonly string $id;
    /** The identifier of the session to serve. */
    public readonly string $sessionID;
    /**
     * The work item as the work queue handed it out. Of an adopted one, what the process that claimed it has passed
     * on.
     */
    public readonly Work $work;

    private bool $isLost = false;
    private ?ServedSession $session = null;

    /**
     * @internal
     *
     * @param Worker|null $worker Its worker, which would be stopped if it were destroyed; null: the lease was adopted.
     */
    public function __construct(
        private readonly Handle $handle,
        #[\SensitiveParameter]
        string $item,
        private readonly ?Worker $worker = null,
    ) {
        $this->work = Work::of(Json::decode($item));
        [$this->id, $this->sessionID] = [$this->work->id, $this->work->data->id];
    }

    /**
     * Adopts the lease of another process. Blocks.
     *
     * @internal
     *
     * @param string $config Its configuration, as JSON.
     */
    public static function adopt(Handle $client, #[\SensitiveParameter] string $config): self
    {
        [$lease, $text] = [Native::pointer('antenv_lease *'), Native::pointer('char *')];
        $handle = new Handle($lease, 'antenv_lease_abandon');
        $out = [Native::address($lease), Native::address($text)];
        $status = Native::library()->antenv_lease_adopt($client->pointer(), $config, ...$out);
        $answer = Native::take($text);
        return $status === Native::OK ? new self($handle, $answer) : throw AntenvException::of($status, $answer);
    }

    /** Returns the lease's state. Throws Closed when the lease has ended. Does not block. */
    public function state(): LeaseState
    {
        return LeaseState::of(Json::decode(Native::text('antenv_lease_state', $this->handle->pointer())));
    }

    /** Returns whether the lease is lost: stop working, another worker may hold the item. Does not block. */
    public function isLost(): bool
    {
        [$status, $text] = Native::callForText('antenv_lease_state', $this->handle->pointer());
        return $this->isLost || ($status === Native::OK && Json::decode($text)->state === 'lost');
    }

    /** Returns whether the lease is lost, its item is to be stopped, or it has ended. Does not block. */
    public function isOver(): bool
    {
        return $this->wait(0);
    }

    /**
     * Waits until the lease is lost, its item is to be stopped, or it has ended; returns whether that is so. `state()`
     * returns the reason.
     *
     * @param int|null $timeoutMs How long to wait; null: without an end.
     */
    public function wait(?int $timeoutMs = null): bool
    {
        $text = '';
        $status = Wait::until(function (int $turn) use (&$text): int {
            [$status, $text] = Native::callForText('antenv_lease_wait', $this->handle->pointer(), $turn);
            return $status;
        }, $timeoutMs);
        return match ($status) {
            Native::OK, Native::DONE, Native::INVALID_HANDLE => true,
            Native::TIMEOUT => false,
            default => throw AntenvException::of($status, $text),
        };
    }

    /**
     * Makes a client with the item's own token, on the worker's connections, for the calls that serving it takes.
     *
     * If the item's secret holds no token, the client has the environment's key. It may outlive the lease. Throws
     * Closed when the lease has ended. Does not block.
     */
    public function client(): Client
    {
        return Client::ofHandle(Native::handle('client', 'antenv_lease_client', $this->handle->pointer()));
    }

    /**
     * Serves the item's session: runs the calls of an agent's tools and posts their results, until it is over; returns
     * why.
     *
     *     $lease->serve([weather(...)]);  // function weather(string $city): string { ... }
     *
     * The lease goes on. Tools run in the program's one thread, one call after the other. What a tool throws is the
     * result of its call; it is written to PHP's error log unless it is a `ToolError`, and ends this if it is an
     * `Interrupt`.
     *
     * @param iterable<mixed> $tools Functions, closures (named by their keys), objects whose methods have the attribute
     *     `Tool`, and `ToolFunction`s. Calls of other tools are left to other clients.
     * @param bool $traces Whether the agent gets the stack trace of what a tool throws, and not only its message.
     * @param int|null $concurrency How many calls the library hands out before the first is answered. Default: 1.
     * @param int|null $maxIdleMs How long the session may be idle after the end of a turn before it is over: 0
     *     (without limit) to 86400000. Default: 60000.
     * @param int|null $toolTimeoutMs How long a call may take; then it is answered with an error. 0: without limit.
     *     Default: 120000.
     * @param bool|array<string, mixed>|null $toolset Whether the library serves the agent's own tools (bash, read,
     *     write, edit, glob, grep) in a confined process; or `['bash' => true, 'network' => false, 'env' => [names of
     *     environment variables]]`.
     * @param string|null $workdir The directory that the toolset works in. Required with `toolset`, `skills` and
     *     `memory`.
     * @param string|null $sandbox "auto", "required" or "off". Default: "auto".
     * @param string|null $toolsetPath The command `antenv`. Default: ANTENV_CLI, the one installed with the library,
     *     or the one on PATH.
     * @param bool|null $skills Whether the agent's skills are unpacked to `skills/` in `workdir`. Default: true with
     *     `toolset`.
     * @param bool|string|null $memory Whether the session's memory stores are kept as directories, or "read_only".
     *     Default: true with `toolset`.
     *
     * @return 'idle'|'terminated'|'deleted'|'not_found'|'stop_requested'|'lease_lost'|'lease_ended'|string
     *
     * @throws Exception\Config An argument is invalid.
     * @throws Exception\Closed The lease has ended before, or this is a forked child.
     * @throws AntenvException What the server refuses permanently, such as Authentication.
     * @throws \InvalidArgumentException Something in `tools` is no tool, or two have the same name.
     */
    public function serve(
        iterable $tools = [],
        bool $traces = false,
        ?int $concurrency = null,
        ?int $maxIdleMs = null,
        ?int $toolTimeoutMs = null,
        bool|array|null $toolset = null,
        ?string $workdir = null,
        ?string $sandbox = null,
        ?string $toolsetPath = null,
        ?bool $skills = null,
        bool|string|null $memory = null,
    ): string {
        $session = $this->open(ToolFunction::all($tools), $traces, [
            'concurrency' => $concurrency,
            'max_idle_ms' => $maxIdleMs,
            'tool_timeout_ms' => $toolTimeoutMs,
            'toolset' => $toolset,
            'workdir' => $workdir,
            'sandbox' => $sandbox,
            'toolset_path' => $toolsetPath,
            'skills' => $skills,
            'memory' => $memory,
        ]);
        try {
            $queue = new Completions();
            while (($taken = $session->next()) instanceof ToolCall) {
                // A reply that is not posted is no failure: the call is void, or the library keeps the result and posts it later.
                if ($taken->submitReply($session->resultOf($taken), $queue, 0)) {
                    $queue->next();
                }
            }
            return (string) $taken;
        } finally {
            $session->close();
        }
    }

    /**
     * Begins to serve the session.
     *
     * @internal
     *
     * @param array<string, ToolFunction> $tools
     * @param array<string, mixed> $options Those of the library, with its names.
     */
    public function open(array $tools, bool $traces, array $options): ServedSession
    {
        $given = array_filter($options, static fn (mixed $value): bool => $value !== null);
        return $this->session = new ServedSession($this->handle, $this->sessionID, $tools, $traces, $given);
    }

    /**
     * Returns the counters of the session that `serve` serves; after it, as they were in the end. null before. Does
     * not block.
     *
     * @return array<string, mixed>|null Those of `antenv_session_stats`, with its names.
     */
    public function sessionStats(): ?array
    {
        return $this->session?->stats();
    }

    /**
     * Ends the lease: stops the item, and extends the lease until that is done.
     *
     * @param bool|null $force Whether the item is stopped at once. Default: true.
     * @param int|null $timeoutMs How long to try. Default: 60000.
     *
     * @return Work|null The item; null when it had stopped already, or the server sends none.
     *
     * @throws LeaseLost The lease was lost; nothing was sent.
     * @throws AntenvException The item could not be stopped: the work queue hands it out again when the lease has
     *     expired.
     */
    public function finish(?bool $force = null, ?int $timeoutMs = null): ?Work
    {
        $params = array_filter(['force' => $force, 'timeout_ms' => $timeoutMs], static fn (mixed $one): bool => $one !== null);
        try {
            $text = Completions::call(
                fn ($queue, $error): int => $this->submitFinish(Json::params($params), $queue, 0, $error),
            );
        } catch (LeaseLost $lost) {
            $this->isLost = true;
            throw $lost;
        }
        $item = Json::decode($text);
        return $item === null ? null : Work::of($item);
    }

    /**
     * Ends the lease without stopping the item: the work queue hands it out again later. Does nothing when it has
     * ended. Does not block.
     */
    public function abandon(): void
    {
        $this->handle->free();
    }

    /**
     * Ends the lease so that another process can go on with it; returns what that must know.
     *
     * Nothing is sent any more. Give it to one process only: one that calls `$client->adopt()`, or an official client's
     * `handle_item`. A lease that is released and not adopted expires, and the work queue hands the item out again.
     *
     * @throws LeaseLost The lease is lost.
     * @throws Exception\Closed The lease has ended.
     */
    public function release(): Handover
    {
        try {
            return Handover::of(Json::decode(Native::text('antenv_lease_release', $this->handle->pointer())));
        } finally {
            $this->handle->free();
        }
    }

    /**
     * Finishes the lease unless it has ended; logs a failure, which must not end a loop that has other items to serve.
     *
     * @internal
     */
    public function end(): void
    {
        if ($this->handle->pointer() === null) {
            return;
        }
        try {
            $this->finish();
        } catch (AntenvException $failure) {
            $this->logUnfinished($failure);
        }
    }

    /**
     * Logs why the item could not be stopped.
     *
     * @internal
     */
    public function logUnfinished(AntenvException $why): void
    {
        Log::warning('antenv::worker', 'an item was not finished', ['work_id' => $this->id], $why);
    }

    /**
     * Logs what ended the serving of the item, and abandons the item if `onError` asks for it. One that is to be
     * stopped is left to be finished in either case.
     *
     * @internal
     */
    public function endFailed(\Throwable $failure, string $onError): void
    {
        $isAbandoned = $onError === 'abandon' && !$this->isOver();
        $end = $isAbandoned ? 'abandoned' : 'finished';
        Log::warning('antenv::worker', "a handler failed; its item is $end", ['work_id' => $this->id], $failure);
        if ($isAbandoned) {
            $this->abandon();
        }
    }

    /**
     * Begins to finish the lease, which has no handle from then on.
     *
     * @internal
     */
    public function submitFinish(?string $params, mixed $queue, int $tag, mixed $error): int
    {
        $status = Native::library()->antenv_lease_submit_finish($this->handle->pointer(), $params, $queue, $tag, $error);
        if ($status === Native::OK) {
            $this->handle->free();
        }
        return $status;
    }
}

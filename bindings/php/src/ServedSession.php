<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Tools\Content;

/**
 * A session that is served: takes the calls of its tools from the library, runs them, and replies. The library does
 * the rest.
 *
 * @internal
 */
final class ServedSession
{
    use Uncopyable;

    private readonly Handle $handle;
    /** The counters at the end. */
    private ?string $lastStats = null;

    /**
     * @param array<string, ToolFunction> $tools
     * @param bool $traces Whether the agent gets the stack trace of what a tool throws.
     * @param array<string, mixed> $options Those of the library, with its names.
     */
    public function __construct(
        Handle $lease,
        private readonly string $id,
        private readonly array $tools,
        private readonly bool $traces,
        array $options,
    ) {
        $config = Json::params([...$options, 'tools' => array_map('strval', array_keys($tools))]);
        $this->handle = Native::handle('session', 'antenv_session_new', $lease->pointer(), $config);
    }

    /**
     * Takes the next call.
     *
     * @param int|null $timeoutMs How long to wait; null: without an end.
     *
     * @return ToolCall|string|null A call, or why the session is over; null when there is no call in time.
     */
    public function next(?int $timeoutMs = null): ToolCall|string|null
    {
        [$call, $text] = [Native::pointer('antenv_tool_call *'), Native::pointer('char *')];
        $handle = new Handle($call, 'antenv_tool_call_free'); // a call is freed even if a signal handler throws
        $out = [Native::address($call), Native::address($text)];
        $status = Wait::until(
            fn (int $turn): int => Native::library()->antenv_session_next($this->handle->pointer(), $turn, ...$out),
            $timeoutMs,
        );
        $answer = Native::take($text);
        return match ($status) {
            Native::OK => new ToolCall($handle, $answer, $this->id),
            Native::DONE => Json::decode($answer)->reason,
            Native::TIMEOUT => null,
            default => throw AntenvException::of($status, $answer),
        };
    }

    /** Runs the tool of a call; returns the result as the library takes it. */
    public function resultOf(ToolCall $call): string
    {
        try {
            return Content::encoded($this->tools[$call->name]->run($call));
        } catch (Interrupt $interrupt) {
            throw $interrupt;
        } catch (\Throwable $failure) {
            return $this->failed($call, $failure);
        }
    }

    /** Delivers calls through a queue. */
    public function attach(Completions $queue, int $tag): void
    {
        $status = Native::library()->antenv_session_attach($this->handle->pointer(), $queue->pointer(), $tag);
        if ($status !== Native::OK) {
            throw AntenvException::of($status, '');
        }
    }

    /**
     * Returns the counters; after the end, as they were then. Does not block.
     *
     * @return array<string, mixed>
     */
    public function stats(): array
    {
        return Json::plain(Json::decode($this->lastStats ?? Native::text('antenv_session_stats', $this->handle->pointer())));
    }

    /** Ends the session, and keeps its counters. */
    public function close(): void
    {
        if ($this->lastStats === null) {
            [$status, $text] = Native::callForText('antenv_session_stats', $this->handle->pointer());
            $this->lastStats = $status === Native::OK ? $text : null;
        }
        $this->handle->free();
    }

    /** Returns the result of a tool that threw this. What it did not throw for the agent is logged. */
    private function failed(ToolCall $call, \Throwable $failure): string
    {
        if ($failure instanceof ToolError) {
            try {
                return Content::encoded($failure->content(), isError: true);
            } catch (\InvalidArgumentException $invalid) {
                $failure = $invalid;
            }
        }
        $fields = ['session_id' => $this->id, 'tool' => $call->name, 'call' => $call->id];
        Log::warning('antenv::session', 'a tool failed', $fields, $failure);
        $message = $failure->getMessage() === '' ? $failure::class : $failure->getMessage();
        $text = $this->traces ? (string) $failure : $message;
        // A message may hold bytes of anything.
        return Content::encoded(json_decode((string) json_encode($text, JSON_INVALID_UTF8_SUBSTITUTE)), isError: true);
    }
}

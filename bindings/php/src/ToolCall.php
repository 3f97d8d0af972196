<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Types\Event;

/**
 * A call of a tool: what a tool gets that has a parameter of this type.
 *
 *     function build(string $target, Antenv\ToolCall $call): string
 *     {
 *         while (!$call->wait(1000)) { ... }
 *     }
 *
 * A call becomes void when it needs no result any more: a user has interrupted the agent, its thread has ended, another
 * client has answered it, `toolTimeoutMs` is over, or the session is. What the tool returns then is dropped.
 */
final class ToolCall
{
    use Uncopyable;

    /** The identifier of the call's event (`sevt_...`). */
    public readonly string $id;
    /** The name of the tool. */
    public readonly string $name;
    /** @var array<string, mixed> The input as the agent gave it. */
    public readonly array $input;
    /** The event of the call, as the API sent it. */
    public readonly Event $event;

    private readonly \stdClass $rawInput;

    /**
     * @internal
     *
     * @param string $sessionID The session that it belongs to.
     */
    public function __construct(private readonly Handle $handle, string $text, public readonly string $sessionID)
    {
        $event = json_decode($text, false, 10_000, JSON_THROW_ON_ERROR);
        $this->rawInput = ($event->input ?? null) instanceof \stdClass ? $event->input : new \stdClass();
        $this->event = Event::of($event);
        $this->input = Json::plain($this->rawInput);
        [$this->id, $this->name] = [$event->id, $event->name];
    }

    /** Returns whether the call needs no result any more. Does not block. */
    public function isVoid(): bool
    {
        return $this->wait(0);
    }

    /**
     * Waits until the call needs no result any more; returns whether that is so.
     *
     * @param int|null $timeoutMs How long to wait; null: without an end.
     */
    public function wait(?int $timeoutMs = null): bool
    {
        $text = '';
        $status = Wait::until(function (int $turn) use (&$text): int {
            [$status, $text] = Native::callForText('antenv_tool_call_wait', $this->handle->pointer(), $turn);
            return $status;
        }, $timeoutMs);
        return match ($status) {
            Native::OK, Native::DONE, Native::INVALID_HANDLE => true,
            Native::TIMEOUT => false,
            default => throw AntenvException::of($status, $text),
        };
    }

    /** Leaves the call to other clients: what the tool returns is dropped. Does not block. */
    public function letGo(): void
    {
        $this->handle->free();
    }

    /**
     * Returns the input with objects as stdClass, which tells an empty object from an empty list.
     *
     * @internal
     */
    public function rawInput(): \stdClass
    {
        return $this->rawInput;
    }

    /**
     * Begins to post a result. A completion with the tag reports when the session has it; there is none when the call
     * needs no result any more.
     *
     * @internal
     *
     * @return bool Whether a completion will come.
     */
    public function submitReply(string $result, Completions $queue, int $tag): bool
    {
        $error = Native::pointer('char *');
        $status = Native::library()->antenv_tool_call_submit_reply(
            $this->handle->pointer(),
            $result,
            $queue->pointer(),
            $tag,
            Native::address($error),
        );
        Native::take($error);
        $this->handle->free();
        return $status === Native::OK;
    }
}

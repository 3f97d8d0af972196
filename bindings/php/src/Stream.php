<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Exception\WaitTimeout;
use Antenv\Types\Event;

/**
 * The events of a session as they happen; `$client->beta->sessions->events->stream()` opens one.
 *
 *     foreach ($client->beta->sessions->events->stream($sessionID) as $event) {
 *         if ($event->type === 'agent.message') { ... }
 *     }
 *
 * It has what happens from its opening on; `events->list()` has what was before. It is read as fast as its events are
 * taken; beyond that the server has to wait. It ends when the server ends it, which is no error, and it is not opened
 * again by itself: open another one, and list what happened in between. A loop may be left and another one begun: it
 * goes on with the next event. A stream that is destroyed is closed.
 *
 * @implements \IteratorAggregate<int, Event>
 */
final class Stream implements \IteratorAggregate
{
    use Uncopyable;

    /** The server's identifier of the request. */
    public readonly ?string $requestID;

    private readonly Handle $handle;
    private readonly Completions $queue;
    private readonly int $process;
    /** @var array{int, string}|null How it ended: a status and its error object. */
    private ?array $end = null;

    /** @param array<string, mixed> $params */
    private function __construct(Handle $client, string $operation, #[\SensitiveParameter] array $params)
    {
        $this->process = getmypid();
        $this->queue = new Completions();
        // Opened through its queue, so that signal handlers run while it waits.
        [$stream, $error] = [Native::pointer('antenv_stream *'), Native::pointer('char *')];
        $this->handle = new Handle($stream, 'antenv_stream_free');
        $out = [Native::address($stream), Native::address($error)];
        $arguments = [$client->pointer(), $this->queue->pointer(), $operation, Json::params($params), 0];
        $status = Native::library()->antenv_stream_submit(...$arguments, ...$out);
        $text = Native::take($error);
        if ($status !== Native::OK) {
            throw AntenvException::of($status, $text);
        }
    }

    /**
     * Opens a stream.
     *
     * @internal
     *
     * @param array<string, mixed> $params
     */
    public static function open(
        Calls $calls,
        string $operation,
        #[\SensitiveParameter]
        array $params,
        ?RequestOptions $options,
    ): self {
        $given = $params + ($options?->values() ?? []);
        unset($given['with_response']); // the library describes the response of every stream
        $stream = new self($calls->client, $operation, $given);
        [, $status, $text] = $stream->queue->next() ?? throw new \LogicException('a wait without an end has ended');
        if ($status !== Native::OK) {
            throw AntenvException::of($status, $text);
        }
        $response = $options?->response ?? new Response();
        $response->read(Json::decode($text));
        $stream->requestID = $response->requestID;
        return $stream;
    }

    /**
     * Waits for the next event and returns it; returns null when the stream has ended or is closed.
     *
     * @param int|null $timeoutMs How long to wait; null: without an end.
     *
     * @throws WaitTimeout No event came in time. The stream stays open.
     * @throws AntenvException The error that ended the stream, from then on every time: APIConnection when it was cut
     *     off, APITimeout after `idleTimeoutMs` of silence, APIStatus when the API reported an error within it,
     *     APIResponseValidation when an event is larger than `maxEventBytes`; Closed in a forked child.
     */
    public function next(?int $timeoutMs = null): ?Event
    {
        if (getmypid() !== $this->process) { // its queue works in a forked child, but the stream is its parent's
            throw AntenvException::of(
                Native::CLOSED,
                '{"message":"this stream was opened before a fork: open another one in this process"}',
            );
        }
        if ($this->end === null) {
            [, $status, $text] = $this->queue->next($timeoutMs)
                ?? throw new WaitTimeout("no event came within $timeoutMs ms");
            if ($status === Native::OK) {
                return Event::of(Json::decode($text));
            }
            $this->end([$status, $text]);
        }
        return $this->end[0] === Native::DONE ? null : throw AntenvException::of(...$this->end);
    }

    /**
     * Goes through the events that come.
     *
     * @return \Generator<int, Event>
     */
    public function getIterator(): \Generator
    {
        while (($event = $this->next()) !== null) {
            yield $event;
        }
    }

    /** Closes the stream; no more events come. Closing it twice is fine. Does not block. */
    public function close(): void
    {
        $this->end([Native::DONE, '']);
    }

    /** @param array{int, string} $how */
    private function end(array $how): void
    {
        $this->end ??= $how;
        $this->handle->free();
        $this->queue->free();
    }
}

<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;

/**
 * A completion queue: calls are submitted to it without waiting, and their results collected from it;
 * `$client->queue()` makes one.
 *
 *     $queue = $client->queue();
 *     foreach ($ids as $id) {
 *         $queue->submit('environments.retrieve', ['environmentID' => $id], tag: $id);
 *     }
 *     foreach ($queue as $completion) {
 *         echo $completion->tag, ': ', $completion->result(Types\Environment::class)->name, "\n";
 *     }
 *
 * Any number of calls may be in flight. A queue that is destroyed cancels those that are.
 *
 * @implements \IteratorAggregate<int, Completion>
 */
final class Queue implements \IteratorAggregate, \Countable
{
    use Uncopyable;

    private readonly Completions $completions;
    private int $lastTag = 0;
    /** @var array<int, array{mixed, RequestOptions|null}> The tags and options of the calls that are in flight. */
    private array $inFlight = [];
    /** @var resource|null */
    private mixed $stream = null;
    private int $process;

    /** @internal */
    public function __construct(private readonly Client $client)
    {
        $this->completions = new Completions();
        $this->process = getmypid();
    }

    /**
     * Begins a call of an operation; its completion will arrive in this queue.
     *
     * @param string $operation The operation's name, such as "environments.create".
     * @param array<string, mixed> $params Its parameters, identifiers included, in camelCase or with the API's
     *     names.
     * @param mixed $tag Comes back with the completion.
     *
     * @throws AntenvException The parameters are invalid, or the client is closed: nothing was sent, and no completion
     *     comes.
     */
    public function submit(
        string $operation,
        #[\SensitiveParameter]
        array $params = [],
        mixed $tag = null,
        ?RequestOptions $requestOptions = null,
    ): Ticket {
        $operation = Calls::withoutNul('operation', $operation);
        $text = Json::params($params + ($requestOptions?->values() ?? []));
        [$ticket, $error] = [Native::pointer('antenv_ticket *'), Native::pointer('char *')];
        $number = ++$this->lastTag;
        $status = Native::library()->antenv_submit(
            $this->client->handle()->pointer(),
            $this->completions->pointer(),
            $operation,
            $text,
            $number,
            Native::address($ticket),
            Native::address($error),
        );
        $why = Native::take($error);
        if ($status !== Native::OK) {
            throw AntenvException::of($status, $why);
        }
        $this->inFlight[$number] = [$tag, $requestOptions];
        return new Ticket(new Handle($ticket, 'antenv_ticket_free'));
    }

    /**
     * Takes the next completion; returns null when none came in time, or no call is in flight.
     *
     * @param int|null $timeoutMs How long to wait: 0 not at all; null: without an end.
     */
    public function next(?int $timeoutMs = null): ?Completion
    {
        if (getmypid() !== $this->process) { // the calls that were in flight are the parent's
            [$this->process, $this->inFlight, $this->stream] = [getmypid(), [], null];
        }
        $taken = $this->inFlight === [] ? null : $this->completions->next($timeoutMs);
        if ($taken === null) {
            return null;
        }
        [$number, $status, $text] = $taken;
        [$tag, $options] = $this->inFlight[$number];
        unset($this->inFlight[$number]);
        return new Completion($tag, $status, $text, $options?->response);
    }

    /**
     * Goes through the completions until no call is in flight. Calls may be submitted meanwhile.
     *
     * @return \Generator<int, Completion>
     */
    public function getIterator(): \Generator
    {
        while (($completion = $this->next()) !== null) {
            yield $completion;
        }
    }

    /** Returns how many calls are in flight, or wait to be collected. */
    public function count(): int
    {
        return \count($this->inFlight);
    }

    /**
     * Returns a stream to watch with stream_select() or an event loop: it is readable while a completion waits. Do not
     * read from it: call `next(0)` until it returns null.
     *
     * @return resource
     *
     * @throws \RuntimeException PHP gives no access to descriptors here, as on a server: it does so in the
     *     command-line PHP only.
     */
    public function stream(): mixed
    {
        $stream = $this->stream ?? @fopen("php://fd/{$this->completions->descriptor()}", 'r');
        if ($stream === false) {
            throw new \RuntimeException('the queue cannot be watched here: only the command-line PHP opens descriptors');
        }
        return $this->stream = $stream;
    }
}

<?php

/**
 * What the tests of workers and sessions share: an emulator with a self-hosted environment, and questions to it.
 */

declare(strict_types=1);

require_once __DIR__ . '/check.php';

use Antenv\Client;
use Antenv\Lease;
use Antenv\Testing\Emulator;
use Antenv\Worker;

/** Only a failing test waits for that long, in milliseconds. */
const PATIENCE = 60_000;
/** How long a session may be idle, in milliseconds. */
const IDLE = 300;
const RESULTS = ['wait' => 'results'];
const STREAM = ['wait' => 'stream'];

/** An emulator with a self-hosted environment in it. */
final class Hosts
{
    public readonly Emulator $emulator;
    public readonly Client $owner;
    public readonly string $environment;
    public readonly string $key;

    /** @param list<string> $options Of the emulator. */
    public function __construct(array $options = [])
    {
        $this->emulator = new Emulator($options);
        $this->owner = $this->emulator->client();
        $this->environment = $this->emulator->environment()->id;
        $this->key = $this->emulator->environmentKey($this->environment);
    }

    public function worker(mixed ...$arguments): Worker
    {
        return $this->owner->worker(...[
            'environmentID' => $this->environment,
            'environmentKey' => $this->key,
            ...$arguments,
        ]);
    }

    /** Queues an item; returns its identifier. */
    public function enqueue(): string
    {
        return $this->emulator->enqueue($this->environment)->id;
    }

    /** Queues an item whose agent plays these steps; returns its session's identifier. */
    public function script(array ...$steps): string
    {
        $this->emulator->control('POST', 'scripts', ['environment_id' => $this->environment, 'steps' => $steps]);
        return $this->emulator->enqueue($this->environment)->data->id;
    }

    /** Queues an item and claims it. */
    public function claim(Worker $worker): Lease
    {
        return $worker->next(PATIENCE) ?? throw new LogicException('the worker has ended');
    }

    /** Returns an item's state as its owner sees it. */
    public function state(string $item): string
    {
        return $this->owner->beta->environments->work->retrieve($item, environmentID: $this->environment)->state->value;
    }

    /** Asks for an item to be stopped. */
    public function stop(string $item): void
    {
        $this->owner->beta->environments->work->stop($item, environmentID: $this->environment, force: false);
    }

    /** @return list<array<string, mixed>> The requests of an operation so far. */
    public function requests(string $operation): array
    {
        $all = $this->emulator->control('GET', 'requests')['data'];
        return array_values(array_filter($all, static fn (array $one): bool => $one['operation'] === $operation));
    }

    /** @return list<array<string, mixed>> The calls of a session's agent, as the emulator reports them. */
    public function calls(string $session): array
    {
        return $this->emulator->scriptReport($session)['calls'];
    }

    /**
     * Returns the results that a session's calls got, one each: the text, or the whole content; and whether it is an
     * error.
     *
     * @return list<array{mixed, bool}>
     */
    public function results(string $session): array
    {
        $found = [];
        foreach ($this->calls($session) as $call) {
            same('once', $call['answered'], "the answer to $call[id]");
            $accepted = array_values(array_filter($call['attempts'], static fn (array $one): bool => $one['accepted']))[0];
            $content = $accepted['content'];
            $isText = count($content) === 1 && $content[0]['type'] === 'text';
            $found[] = [$isText ? $content[0]['text'] : $content, $accepted['is_error']];
        }
        return $found;
    }
}

/** Waits for a condition. */
function waitUntil(callable $condition, string $what): void
{
    $deadline = hrtime(true) + PATIENCE * 1_000_000;
    while (!$condition()) {
        check(hrtime(true) < $deadline, $what);
        usleep(5_000);
    }
}

/** Returns what is written to PHP's error log while a function runs. */
function logged(callable $body): string
{
    $file = tempnam(sys_get_temp_dir(), 'log');
    $before = ini_set('error_log', $file);
    try {
        $body();
        return (string) file_get_contents($file);
    } finally {
        ini_set('error_log', (string) $before);
        unlink($file);
    }
}

/** Returns everything that PHP would show of a value. */
function shown(mixed $value): string
{
    ob_start();
    var_dump($value);
    var_export(['shown' => print_r($value, true)]);
    return ob_get_clean() . json_encode($value, JSON_PARTIAL_OUTPUT_ON_ERROR) . var_export((array) $value, true);
}

<?php

/** Tests of workers in processes: signals, forks, the end of a script. Run by test_php_process.py. */

declare(strict_types=1);

require __DIR__ . '/serving.php';

use Antenv\Exception\Closed;
use Antenv\ToolCall;

final class Interrupted extends RuntimeException implements Antenv\Interrupt
{
}

$hosts = new Hosts();

/** A program of program.php. */
final class Program
{
    /** @var resource */
    private readonly mixed $process;
    /** @var array<int, resource> */
    private array $pipes = [];

    public function __construct(string $case, Hosts $hosts)
    {
        $arguments = [$case, $hosts->emulator->url, (string) $hosts->emulator->caFile, $hosts->environment, $hosts->key];
        $command = [PHP_BINARY, '-d', 'display_errors=stderr', '-d', 'log_errors=0', __DIR__ . '/program.php', ...$arguments];
        $this->process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['pipe', 'w']], $this->pipes);
    }

    /** Returns the next line that it prints. */
    public function line(): string
    {
        return rtrim((string) fgets($this->pipes[1]));
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->process, $signal);
    }

    /**
     * Waits for its end; returns the rest that it prints, what it reports, and its exit code.
     *
     * @return array{string, string, int}
     */
    public function end(): array
    {
        [$output, $errors] = [stream_get_contents($this->pipes[1]), stream_get_contents($this->pipes[2])];
        return [$output, $errors, proc_close($this->process)];
    }
}

/** Runs a function in a forked process; returns what it returned. */
function inChild(callable $body): mixed
{
    [$here, $there] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
    $child = pcntl_fork();
    if ($child === 0) {
        fclose($here);
        try {
            $found = $body();
        } catch (Throwable $failure) {
            $found = $failure::class . ': ' . $failure->getMessage();
        }
        fwrite($there, serialize($found));
        fclose($there);
        exit(0); // with all destructors
    }
    fclose($there);
    $found = unserialize(stream_get_contents($here));
    pcntl_waitpid($child, $status);
    same(0, pcntl_wexitstatus($status), 'how the child ended');
    return $found;
}

test('a worker ends on SIGTERM while it waits, and while it serves sessions', function () use ($hosts): void {
    $program = new Program('stopped', $hosts);
    same('waiting', $program->line());
    $item = $hosts->enqueue();
    same($item, $program->line());
    waitUntil(fn (): bool => $hosts->state($item) === 'stopped', 'the loop has gone on');
    $program->signal(SIGTERM);
    same(["stopped\n", '', 0], $program->end());
    $session = $hosts->script(['custom_tool' => 'hold', 'input' => new stdClass()], STREAM, RESULTS);
    $program = new Program('run', $hosts);
    same('holding', $program->line());
    $program->signal(SIGTERM);
    $hosts->emulator->script($session, [['terminate' => true]]);
    $hosts->owner->beta->sessions->events->send($session, events: [['type' => 'user.interrupt']]);
    same(["stopped\n", '', 0], $program->end());
});

test('a signal handler that throws ends each wait, and what was waited for goes on', function () use ($hosts): void {
    $session = $hosts->script(STREAM);
    $lease = $hosts->claim($hosts->worker());
    $worker = $hosts->worker();
    $stream = $lease->client()->beta->sessions->events->stream($session);
    $queue = $hosts->owner->queue();
    $hosts->emulator->faults(['operation' => 'environments.retrieve', 'hold' => true]);
    $queue->submit('environments.retrieve', ['environment_id' => $hosts->environment]);
    $called = [];
    $isArmed = false;
    $endCalls = fn () => $hosts->owner->beta->sessions->events->send($session, events: [['type' => 'user.interrupt']]);
    $calls = function (string $tool) use ($hosts, $lease, $session, $endCalls, &$called, &$isArmed): void {
        $endCalls(); // those that were interrupted here
        $hosts->emulator->script($session, [['custom_tool' => $tool, 'input' => new stdClass()], RESULTS]);
        $lease->serve([
            'wait' => function (ToolCall $call) use (&$called, &$isArmed): void {
                $called[] = 'wait';
                $isArmed = true;
                $call->wait();
            },
            'sleep' => function () use (&$called, &$isArmed): void {
                $called[] = 'sleep';
                $isArmed = true;
                while (true) {
                    usleep(1000);
                }
            },
        ]);
    };
    $waits = [
        fn () => $worker->next(),
        fn () => iterator_to_array($worker),
        fn () => $worker->run(tools: []),
        fn () => $lease->wait(),
        fn () => $lease->serve(['echo' => fn () => 1], maxIdleMs: 0),
        fn () => $calls('wait'),
        fn () => $calls('sleep'),
        function () use ($stream): void {
            while ($stream->next() !== null) {
            }
        },
        fn () => $queue->next(),
    ];
    pcntl_async_signals(true);
    pcntl_signal(SIGUSR1, function () use (&$isArmed): void {
        if ($isArmed) {
            $isArmed = false;
            throw new Interrupted();
        }
    });
    $here = getmypid();
    $sender = pcntl_fork();
    if ($sender === 0) {
        while (posix_getppid() === $here) {
            posix_kill($here, SIGUSR1);
            usleep(30_000);
        }
        posix_kill(getmypid(), SIGKILL);
    }
    try {
        foreach ($waits as $number => $wait) {
            thrown(Interrupted::class, function () use ($number, $wait, &$isArmed): void {
                $isArmed = !\in_array($number, [5, 6], true); // tools arm it themselves
                $wait();
            });
            check(!$isArmed, "wait $number was interrupted");
            if ($number === 2) {
                $worker = $hosts->worker(); // run has stopped the other
            }
        }
    } finally {
        posix_kill($sender, SIGKILL);
        pcntl_waitpid($sender, $status);
        pcntl_signal(SIGUSR1, SIG_DFL);
        pcntl_async_signals(false);
    }
    same(['held', ['wait', 'sleep']], [$lease->state()->state, $called]);
    $endCalls();
    $hosts->emulator->script($session, [['terminate' => true]]);
    while ($stream->next(PATIENCE)->type !== 'session.status_terminated') {
    }
    $hosts->emulator->control('DELETE', 'holds');
    same($hosts->environment, $queue->next()->result()->id);
    $lease->finish();
    $item = $hosts->enqueue();
    $lease = $hosts->claim($worker);
    same($item, $lease->id);
    $lease->finish();
});

test('what belongs to the parent says so in a forked child, and is left alone there', function () use ($hosts): void {
    $session = $hosts->script(STREAM);
    $worker = $hosts->worker();
    $lease = $hosts->claim($worker);
    $stream = $hosts->owner->beta->sessions->events->stream($session);
    $queue = $hosts->owner->queue();
    $hosts->emulator->faults(['operation' => 'environments.retrieve', 'hold' => true]);
    $queue->submit('environments.retrieve', ['environment_id' => $hosts->environment]);
    $uses = [
        fn () => $worker->next(),
        fn () => $worker->stats(),
        fn () => $lease->state(),
        fn () => $lease->finish(),
        fn () => $lease->serve(['echo' => fn () => 1]),
        fn () => $stream->next(),
    ];
    foreach ($uses as $number => $use) {
        $found = inChild($use);
        check(is_string($found) && str_starts_with($found, Closed::class . ': '), "use $number: " . var_export($found, true));
    }
    same([0, true, 'hosts'], inChild(function () use ($queue, $hosts): array {
        same(null, $queue->next(0)); // the call in flight is the parent's
        $queue->submit('environments.list', []);
        $hosts->emulator->stop(); // is the parent's, too
        $made = $hosts->owner->beta->environments->create(name: 'hosts');
        return [count($queue) - 1, $queue->next()->result()->data !== [], $made->name];
    }));
    same('held', $lease->state()->state);
    $lease->finish();
    $hosts->emulator->control('DELETE', 'holds');
    same($hosts->environment, $queue->next()->result()->id);
    $hosts->emulator->script($session, [['terminate' => true]]);
    while ($stream->next(PATIENCE)->type !== 'session.status_terminated') {
    }
});

test('forked processes serve a work queue, each item once', function () use ($hosts): void {
    $items = array_map(fn (): string => $hosts->enqueue(), range(1, 12));
    [$here, $there] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
    $children = [];
    foreach (range(1, 3) as $number) {
        $children[] = $child = pcntl_fork();
        if ($child === 0) {
            foreach ($hosts->worker(drain: true) as $lease) { // of the parent's client
                fwrite($there, "$lease->id\n");
            }
            exit(0);
        }
    }
    fclose($there);
    $served = array_filter(explode("\n", stream_get_contents($here)));
    foreach ($children as $child) {
        pcntl_waitpid($child, $status);
        same(0, pcntl_wexitstatus($status));
    }
    sort($items);
    sort($served);
    same($items, $served);
    same(array_fill(0, 12, 'stopped'), array_map($hosts->state(...), $items));
});

test('a script ends with anything in use', function () use ($hosts): void {
    $cases = [
        'end' => ['active', '', 0],
        'exit' => ['stopped', '', 3],
        'exit in a tool' => ['stopped', '', 3],
        'exception' => ['stopped', 'nothing catches this', 255],
        'destructor' => ['stopped', 'a destructor failed', 255],
    ];
    foreach ($cases as $case => [$state, $error, $code]) {
        $session = $hosts->script(STREAM, ['custom_tool' => 'leave', 'input' => new stdClass()]);
        $program = new Program($case, $hosts);
        $item = $program->line();
        [$output, $errors, $exit] = $program->end();
        same(['', $code, $state], [$output, $exit, $hosts->state($item)], $case);
        check($error === '' ? $errors === '' : str_contains($errors, "Uncaught RuntimeException: $error in "), "$case: $errors");
        foreach ([$hosts->key, 'sk-ant-'] as $secret) {
            check(!str_contains($errors, $secret), "no secret in: $errors");
        }
    }
});

test('an emulator ends with the process that has started it', function () use ($hosts): void {
    $program = new Program('killed', $hosts);
    $url = preg_replace('/^https:/', 'http:', $program->line());
    check(@file_get_contents("$url/_emulator/requests") !== false, 'it is there');
    $program->signal(SIGKILL);
    waitUntil(fn (): bool => @file_get_contents("$url/_emulator/requests") === false, 'it is gone');
    $program->end();
    $emulator = new Antenv\Testing\Emulator();
    $url = preg_replace('/^https:/', 'http:', $emulator->url);
    $emulator->stop();
    $emulator->stop();
    same(false, @file_get_contents("$url/_emulator/requests"));
    $error = thrown(RuntimeException::class, fn () => new Antenv\Testing\Emulator(program: '/no/such/program'));
    check(str_contains($error->getMessage(), 'name it in ANTENV_EMULATOR'), $error->getMessage());
});

Tests::end();

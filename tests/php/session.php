<?php

/** Tests of sessions that are served with tools. Run by test_php_session.py. */

declare(strict_types=1);

require __DIR__ . '/serving.php';

use Antenv\Exception\Authentication;
use Antenv\Exception\Closed;
use Antenv\Exception\Config;
use Antenv\Exception\PermissionDenied;
use Antenv\Image;
use Antenv\Lease;
use Antenv\ToolCall;
use Antenv\ToolError;

final class Interrupted extends RuntimeException implements Antenv\Interrupt
{
}

$hosts = new Hosts();

/** Serves a session whose agent plays these steps until it is idle; returns the results of its calls. */
$served = function (array $tools, array $steps, mixed ...$options) use ($hosts): array {
    $session = $hosts->script(...$steps);
    foreach ($hosts->worker(drain: true) as $lease) {
        same('idle', $lease->serve($tools, ...['maxIdleMs' => IDLE, ...$options]));
    }
    return $hosts->results($session);
};

/** Returns steps that call tools one after the other. */
function calls(array ...$calls): array
{
    return array_merge(...array_map(fn (array $call): array => [
        ['custom_tool' => $call[0], 'input' => (object) ($call[1] ?? [])],
        RESULTS,
    ], $calls));
}

test('input is checked, and content is passed on', function () use ($served, $hosts): void {
    $identity = [];
    $tools = [
        'add' => fn (int $a, int $b = 1): int => $a + $b,
        'draw' => fn (string $title): array => [$title, new Image("\x89PNG")],
        'who' => function (ToolCall $call) use (&$identity): string {
            $identity = [$call->id, $call->name, $call->sessionID, $call->event->type, $call->isVoid(), $call->input];
            return '';
        },
    ];
    [$sum, $wrong, $drawing, $empty] = $served($tools, [
        ...calls(['add', ['a' => 1]], ['add', ['b' => 'x', 'c' => 1]], ['draw', ['title' => 'Plan']]),
        ['tool' => 'who', 'input' => ['list' => [], 'object' => new stdClass()]],
        RESULTS,
    ]);
    same(['2', false], $sum);
    same(['invalid input: b must be an integer, not "x"; c is unknown; a is missing', true], $wrong);
    same([['text', 'image'], false], [array_column($drawing[0], 'type'), $drawing[1]]);
    same(['invalid input: list is unknown; object is unknown', true], $empty);
    same([['(no output)', false]], $served(['who' => fn (ToolCall $call, mixed ...$more) => $tools['who']($call)], [
        ['tool' => 'who', 'input' => ['list' => [], 'object' => new stdClass()]],
        RESULTS,
    ]));
    $report = $hosts->calls($identity[2])[0];
    same([$report['id'], 'who', 'agent.tool_use', false], [$identity[0], $identity[1], $identity[3], $identity[4]]);
    same(['list' => [], 'object' => []], $identity[5]);
});

test('a tool that fails gives its message, and is logged', function () use ($served): void {
    $broken = fn (string $how): mixed => match ($how) {
        'value' => throw new RuntimeException('no such city'),
        'error' => intdiv(1, 0),
        'mute' => throw new LogicException(),
        'bytes' => "\xFF",
        'both' => throw new RuntimeException("\xFF is no city"),
        'chosen' => throw new ToolError(content: ['see', new Image('GIF8')]),
        default => throw new ToolError('it failed'),
    };
    $ways = ['value', 'error', 'mute', 'bytes', 'both', 'x', 'chosen'];
    $steps = calls(...array_map(fn (string $how): array => ['broken', ['how' => $how]], $ways));
    $results = [];
    $log = logged(function () use ($served, $broken, $steps, &$results): void {
        $results = $served(['broken' => $broken], $steps);
    });
    $chosen = array_pop($results);
    same([
        ['no such city', true],
        ['Division by zero', true],
        ['LogicException', true],
        ['a tool cannot return bytes that are not UTF-8: Antenv\Image and Antenv\Document take them', true],
        ["\u{FFFD} is no city", true],
        ['it failed', true],
    ], $results);
    same([['text', 'image'], true], [array_column($chosen[0], 'type'), $chosen[1]]);
    same(5, substr_count($log, 'antenv: a tool failed: session_id='), $log);
    same(1, preg_match('/tool=broken call=sevt_\w+ why=RuntimeException: no such city in .*session\.php:\d+/', $log), $log);
    $traced = [];
    logged(function () use ($served, $broken, &$traced): void {
        $traced = $served(['broken' => $broken], calls(['broken', ['how' => 'value']]), traces: true);
    });
    [$trace, $isError] = $traced[0];
    check($isError && str_contains($trace, 'RuntimeException: no such city in ') && str_contains($trace, '#0 '), 'a trace');
});

test('the counters of a session', function () use ($hosts): void {
    $session = $hosts->script(...calls(['look']));
    $lease = $hosts->claim($hosts->worker());
    same(null, $lease->sessionStats());
    $during = null;
    $lease->serve(['look' => function () use ($lease, &$during): void {
        $during = $lease->sessionStats();
    }], maxIdleMs: IDLE);
    $lease->finish();
    $after = $lease->sessionStats();
    same([$session, 'live', null, 1, 1, 0], array_map(fn (string $one): mixed => $during[$one], [
        'session_id', 'state', 'end', 'open_calls', 'calls', 'posted',
    ]));
    same(['ended', 'idle', 0, 1, 1], array_map(fn (string $one): mixed => $after[$one], [
        'state', 'end', 'open_calls', 'calls', 'posted',
    ]));
    waitUntil(fn (): bool => $hosts->emulator->control('GET', 'connections')['streams_open'] === 0, 'no stream is left');
});

test('the toolset is served in its folder', function () use ($hosts): void {
    $folder = sys_get_temp_dir() . '/antenv-' . bin2hex(random_bytes(8));
    mkdir($folder);
    $session = $hosts->script(
        ['tool' => 'bash', 'input' => ['command' => 'echo made >file; pwd']],
        RESULTS,
        ['tool' => 'bash', 'input' => ['command' => 'echo $SHOWN$HIDDEN']],
        RESULTS,
    );
    putenv('SHOWN=seen');
    putenv('HIDDEN=not');
    foreach ($hosts->worker(drain: true) as $lease) {
        same('idle', $lease->serve(toolset: ['env' => ['SHOWN']], workdir: $folder, maxIdleMs: IDLE));
        same([2, 1], [$lease->sessionStats()['toolset_calls'], $lease->sessionStats()['toolset_starts']]);
    }
    same([["$folder\n", false], ["seen\n", false]], $hosts->results($session));
    same("made\n", file_get_contents("$folder/file"));
    unlink("$folder/file");
    rmdir($folder);
});

test('memories are there for the toolset', function () use ($hosts): void {
    $folder = sys_get_temp_dir() . '/antenv-' . bin2hex(random_bytes(8));
    mkdir($folder);
    $store = $hosts->emulator->createMemoryStore('Notes', ['/todo.md' => 'nothing']);
    $session = $hosts->emulator->session(
        [['tool' => 'bash', 'input' => ['command' => 'echo water the plants >memory/*/todo.md']], RESULTS],
        $hosts->environment,
        resources: [['type' => 'memory_store', 'memoryStoreID' => $store]],
    );
    $hosts->worker(drain: true)->run(tools: [], toolset: true, workdir: $folder, maxIdleMs: IDLE);
    same([['[no output]', false]], $hosts->results($session->id));
    $memories = $hosts->owner->beta->memoryStores->memories->list($store, view: 'full');
    same(['/todo.md', "water the plants\n"], [$memories->data[0]->path, $memories->data[0]->content]);
    rmdir($folder);
});

test('a call that takes too long is answered, and its tool sees that', function () use ($served): void {
    $seen = null;
    $slow = function (ToolCall $call) use (&$seen): string {
        $seen = $call->wait(PATIENCE) && $call->isVoid();
        return 'too late';
    };
    same([['slow did not finish within 200 ms', true]], $served(['slow' => $slow], calls(['slow']), toolTimeoutMs: 200));
    same(true, $seen);
});

test('an interrupt ends the session, and its call is not answered', function () use ($hosts): void {
    $leave = ['leave' => fn () => throw new Interrupted('enough')];
    $first = $hosts->script(...calls(['leave']));
    thrown(Interrupted::class, function () use ($hosts, $leave): void {
        foreach ($hosts->worker() as $lease) {
            $lease->serve($leave);
        }
    });
    $second = $hosts->script(...calls(['leave']));
    $hosts->emulator->takeRequests();
    thrown(Interrupted::class, fn () => $hosts->worker(concurrency: 2)->run(tools: $leave));
    same(['never', 'never'], [$hosts->calls($first)[0]['answered'], $hosts->calls($second)[0]['answered']]);
    same([200], array_column($hosts->requests('work.stop'), 'status'), 'its item is stopped');
});

test('a lease that ends in the middle ends the session', function () use ($hosts): void {
    foreach (['finish', 'abandon', 'release'] as $end) {
        $session = $hosts->script(...calls(['end']));
        $lease = $hosts->claim($hosts->worker());
        same('lease_ended', $lease->serve(['end' => function (ToolCall $call) use ($lease, $end): void {
            $lease->$end();
            check($call->wait(PATIENCE), 'the call is void');
        }]), $end);
        thrown(Closed::class, fn () => $lease->serve(['end' => fn () => null]));
        same('never', $hosts->calls($session)[0]['answered']);
    }
});

test('a stop and a loss of the lease end the session', function (): void {
    $hosts = new Hosts(['--lease-ttl', '8']); // seconds: a stop is noticed halfway, and the rest is there to end the session
    $hosts->script(STREAM);
    $lease = $hosts->claim($hosts->worker());
    $hosts->stop($lease->id);
    same('stop_requested', $lease->serve(['echo' => fn () => 1], maxIdleMs: 0));
    $lease->finish();
    $hosts->script(STREAM);
    $lease = $hosts->claim($hosts->worker());
    $hosts->emulator->advance(9000);
    $other = $hosts->claim($hosts->worker());
    same('lease_lost', $lease->serve(['echo' => fn () => 1], maxIdleMs: 0));
    $other->abandon();
});

test('what the server refuses is thrown, and run goes on', function () use ($hosts): void {
    $refusals = [
        ['sessions.events.list', 403, PermissionDenied::class],
        ['sessions.events.stream', 401, Authentication::class],
    ];
    foreach ($refusals as [$where, $status, $class]) {
        $hosts->script(STREAM);
        $hosts->emulator->faults(['operation' => $where, 'status' => $status]);
        $lease = $hosts->claim($hosts->worker());
        thrown($class, fn () => $lease->serve(['echo' => fn () => 1]));
        $lease->finish();
    }
    $hosts->script(STREAM);
    $hosts->emulator->faults(['operation' => 'sessions.events.stream', 'status' => 401]);
    $log = logged(fn () => $hosts->worker(drain: true)->run(tools: ['echo' => fn () => 1], onError: 'abandon', maxIdleMs: IDLE));
    $logged = '/a handler failed; its item is abandoned: work_id=(work_\w+) why=.*Authentication: /';
    same(1, preg_match($logged, $log, $match), $log);
    same('active', $hosts->state($match[1]));
});

test('a wrong configuration is thrown, ends a worker, and leaves the item', function () use ($hosts): void {
    $item = $hosts->enqueue();
    $lease = $hosts->claim($hosts->worker());
    $wrong = [
        ['concurrency', ['concurrency' => 0], '1 to 1000'],
        ['maxIdleMs', ['maxIdleMs' => -1], '0 to 86400000'],
        ['odd', ['toolset' => ['odd' => 1]], 'known are: bash, network, env'],
    ];
    foreach ($wrong as [$parameter, $options, $words]) {
        $error = thrown(Config::class, fn () => $lease->serve(['echo' => fn () => 1], ...$options));
        same($parameter, $error->parameter);
        check(str_contains($error->getMessage(), $words), $error->getMessage());
    }
    $lease->finish();
    $item = $hosts->enqueue();
    thrown(Config::class, fn () => $hosts->worker()->run(tools: ['echo' => fn () => 1], concurrency: 0));
    same('active', $hosts->state($item));
});

test('each session may have a folder of its own, and its end is reported', function () use ($hosts): void {
    $root = sys_get_temp_dir() . '/antenv-' . bin2hex(random_bytes(8));
    mkdir($root);
    $step = [['tool' => 'bash', 'input' => ['command' => 'basename $PWD; ls -A; touch left']], RESULTS];
    $sessions = [$hosts->script(...$step), $hosts->script(...$step), $hosts->script(...$step)];
    $ends = [];
    $log = logged(function () use ($hosts, $root, &$ends): void {
        $begun = 0;
        $hosts->worker(concurrency: 3, drain: true)->run(
            tools: [],
            toolset: true,
            maxIdleMs: IDLE,
            workdir: function (Lease $lease) use ($root, &$begun): string {
                mkdir("$root/$lease->id");
                return ++$begun === 3 ? throw new RuntimeException('no room') : "$root/$lease->id";
            },
            onEnd: function (Lease $lease, ?string $reason) use ($root, &$ends): void {
                $ends[$lease->sessionID] = $reason;
                array_map('unlink', glob("$root/$lease->id/*"));
                rmdir("$root/$lease->id");
                throw new LogicException('logged');
            },
        );
    });
    same([], array_diff($sessions, array_keys($ends)));
    $served = array_keys($ends, 'idle', true); // two of them, in whatever order they were claimed
    same(2, count($served));
    foreach ($served as $session) {
        check(preg_match('/\Awork_\w+\n\z/', $hosts->results($session)[0][0]) === 1, $hosts->results($session)[0][0]);
    }
    same([1, 3], [substr_count($log, 'RuntimeException: no room'), substr_count($log, 'onEnd failed')], $log);
    rmdir($root);
});

test('sessions are served at the same time in one thread', function () use ($hosts): void {
    // The first goes on until a tool of the second ends it: served one after the other, neither would.
    $first = $hosts->script(STREAM, ...calls(['begin']));
    $second = $hosts->script(STREAM, ...calls(['end']));
    $order = [];
    $hosts->worker(concurrency: 2, drain: true)->run(tools: [
        'begin' => function () use (&$order): string {
            $order[] = 'begin';
            return 'begun';
        },
        'end' => function (ToolCall $call) use (&$order, $hosts, $first): string {
            $order[] = 'end';
            $hosts->emulator->script($first, [['terminate' => true]]);
            $hosts->emulator->script($call->sessionID, [['terminate' => true]]);
            return 'ended';
        },
    ], maxIdleMs: 0);
    sort($order);
    same(['begin', 'end'], $order);
    same([[['begun', false]], [['ended', false]]], [$hosts->results($first), $hosts->results($second)]);
});

Tests::end();

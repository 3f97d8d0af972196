<?php

/** Tests of workers and leases. Run by test_php_worker.py. */

declare(strict_types=1);

require __DIR__ . '/serving.php';

use Antenv\Exception\Authentication;
use Antenv\Exception\Closed;
use Antenv\Exception\Config;
use Antenv\Exception\InvalidArgument;
use Antenv\Exception\LeaseLost;
use Antenv\Exception\PermissionDenied;
use Antenv\Exception\WaitTimeout;
use Antenv\Lease;
use Antenv\Types\Work;

/** How long a lease lasts, in seconds, when its heartbeats are to come soon. */
const BRIEF = 10;

final class Interrupted extends RuntimeException implements Antenv\Interrupt
{
}

$lasting = new Hosts();
$brief = new Hosts(['--lease-ttl', (string) BRIEF]);

test('a loop serves item after item', function () use ($lasting): void {
    $items = [$lasting->enqueue(), $lasting->enqueue(), $lasting->enqueue()];
    $lasting->emulator->takeRequests();
    $worker = $lasting->worker();
    $served = [];
    foreach ($worker as $lease) {
        if ($served !== []) {
            same('stopped', $lasting->state(end($served)), 'the item before');
        }
        same('active', $lasting->state($lease->id));
        same([$lease->work->id, $lease->work->data->id, $lasting->environment], [
            $lease->id,
            $lease->sessionID,
            $lease->work->environmentID,
        ]);
        $served[] = $lease->id;
        if (count($served) === count($items)) {
            $worker->stop();
        }
    }
    same($items, $served);
    same(array_fill(0, 3, ['force' => true]), array_column($lasting->requests('work.stop'), 'body'));
});

test('leaving the body in any way ends the item, and only once', function () use ($lasting): void {
    [$broken, $thrown, $finished, $abandoned] = array_map(fn (): string => $lasting->enqueue(), range(1, 4));
    $lasting->emulator->takeRequests();
    $worker = $lasting->worker();
    foreach ($worker as $lease) {
        same($broken, $lease->id);
        break;
    }
    same('stopped', $lasting->state($broken), 'the item of a loop that was left');
    thrown(DivisionByZeroError::class, function () use ($worker): void {
        foreach ($worker as $lease) {
            intdiv(1, 0);
        }
    });
    same('stopped', $lasting->state($thrown), 'the item of a loop that threw');
    foreach ($worker as $lease) {
        if ($lease->id === $abandoned) {
            $lease->abandon();
            $worker->stop();
        } else {
            $lease->finish();
        }
    }
    same(['stopped', 'active'], [$lasting->state($finished), $lasting->state($abandoned)]);
    same(3, count($lasting->requests('work.stop')), 'the number of stops');
});

test('an item that cannot be finished is logged, and the loop goes on', function () use ($lasting): void {
    $lasting->emulator->faults(['operation' => 'work.stop', 'status' => 403]);
    $items = [$lasting->enqueue(), $lasting->enqueue()];
    $log = logged(function () use ($lasting): void {
        foreach ($lasting->worker(drain: true) as $lease) {
        }
    });
    same(1, preg_match("/antenv: an item was not finished: work_id=$items[0] why=.*PermissionDenied/", $log), $log);
    same(['active', 'stopped'], array_map($lasting->state(...), $items));
    $lasting->enqueue();
    $lasting->emulator->faults(['operation' => 'work.stop', 'status' => 403]);
    $lease = $lasting->claim($lasting->worker());
    thrown(PermissionDenied::class, fn () => $lease->finish());
});

test('the configuration is checked', function () use ($lasting): void {
    foreach (
        [
            [['environmentID' => null], 'environmentID'],
            [['environmentKey' => null], 'environmentKey'],
            [['concurrency' => 0], 'concurrency'],
            [['graceMs' => -1], 'graceMs'],
            [['desiredTTLSeconds' => 0], 'desiredTTLSeconds'],
        ] as [$arguments, $parameter]
    ) {
        $error = thrown(Config::class, fn () => $lasting->worker(...$arguments));
        same($parameter, $error->parameter);
        check(str_contains($error->getMessage(), $parameter), $error->getMessage());
    }
    $client = $lasting->emulator->client(environmentKey: $lasting->key);
    same($lasting->environment, $client->worker($lasting->environment)->stats()['environment_id']);
    $client->close();
    thrown(Closed::class, fn () => $client->worker($lasting->environment));
});

test('a worker, an adoption and a session have an argument for each key of the library', function () use ($lasting): void {
    $known = function (string $type, string $function, Antenv\Handle|FFI\CData|null $owner): array {
        $out = Antenv\Native::pointer("antenv_$type *");
        $text = Antenv\Native::pointer('char *');
        $handle = $owner instanceof Antenv\Handle ? $owner->pointer() : $owner;
        Antenv\Native::library()->$function($handle, '{"odd":0}', FFI::addr($out), FFI::addr($text));
        $keys = explode(', ', explode('known are: ', json_decode(Antenv\Native::take($text))->message)[1]);
        sort($keys);
        return $keys;
    };
    $names = function (string $class, string $method, array $without = []): array {
        $names = array_map(fn ($one): string => $one->getName(), (new ReflectionMethod($class, $method))->getParameters());
        $names = array_map(Antenv\Names::snake(...), array_values(array_diff($names, $without)));
        sort($names);
        return $names;
    };
    $client = $lasting->owner->handle();
    same($known('worker', 'antenv_worker_new', $client), $names(Antenv\Client::class, 'worker'));
    same($known('lease', 'antenv_lease_adopt', $client), $names(Antenv\Client::class, 'adopt'));
    $lasting->enqueue();
    $lease = $lasting->claim($lasting->worker());
    $handle = (new ReflectionProperty($lease, 'handle'))->getValue($lease);
    same($known('session', 'antenv_session_new', $handle), $names(Lease::class, 'serve', ['traces']));
});

test('waiting ends after a time, and when the worker is stopped or closed', function () use ($lasting): void {
    $worker = $lasting->emulator->worker($lasting->emulator->environment()->id);
    foreach ([0, 30] as $milliseconds) {
        $error = thrown(WaitTimeout::class, fn () => $worker->next($milliseconds));
        same("no work came within $milliseconds ms", $error->getMessage());
    }
    $worker->stop();
    same([null, null], [$worker->next(), $worker->next(0)]);
    same([], iterator_to_array($worker));
    $worker->close();
    same(null, $worker->next());
    $worker->stop();
    check(str_contains(thrown(Closed::class, fn () => $worker->stats())->getMessage(), 'this worker is closed'), 'what it says');
});

test('a wait that ends says why the last poll failed', function () use ($lasting): void {
    $worker = $lasting->worker();
    $lasting->emulator->faults(['operation' => 'work.poll', 'status' => 503, 'count' => 100]);
    waitUntil(function () use ($worker): bool {
        $message = thrown(WaitTimeout::class, fn () => $worker->next(20))->getMessage();
        return str_contains($message, '; the last poll failed: ') && str_contains($message, '503');
    }, 'the message names the failure');
    $lasting->emulator->control('DELETE', 'faults');
});

test('the state of a lease', function () use ($brief): void {
    $brief->enqueue();
    $worker = $brief->worker();
    $lease = $brief->claim($worker);
    waitUntil(fn (): bool => $lease->state()->beats > 1, 'a second heartbeat');
    $state = $lease->state();
    same(['held', null, $lease->id, BRIEF], [$state->state, $state->reason, $state->workID, $state->ttlSeconds]);
    same([false, false, false], [$lease->isLost(), $lease->isOver(), $lease->wait(30)]);
    check($state->lastHeartbeat !== null, 'there is a heartbeat');
    $brief->emulator->takeRequests();
    $done = $lease->finish(force: false, timeoutMs: 50_000);
    check($done instanceof Work && $done->state->value === 'stopping', 'the item is stopping');
    same([['force' => false]], array_column($brief->requests('work.stop'), 'body'));
    same([false, true, true], [$lease->isLost(), $lease->isOver(), $lease->wait()]);
    $lease->abandon();
    foreach (['state', 'finish', 'client', 'release', 'serve'] as $use) {
        $message = thrown(Closed::class, fn () => $lease->$use())->getMessage();
        check(str_contains($message, 'this lease has ended'), "$use: $message");
    }
});

test('a finish that is refused leaves the lease as it is', function () use ($lasting): void {
    $item = $lasting->enqueue();
    $lease = $lasting->claim($lasting->worker());
    same('timeoutMs', thrown(InvalidArgument::class, fn () => $lease->finish(timeoutMs: 0))->parameter);
    same('held', $lease->state()->state);
    $lease->finish();
    same('stopped', $lasting->state($item));
});

test('secrets are not shown', function () use ($lasting): void {
    $lasting->enqueue();
    $worker = $lasting->worker();
    $lease = $lasting->claim($worker);
    $secret = $lease->work->secret();
    check($secret !== null && strlen($secret) > 20, 'there is a secret');
    $failure = thrown(Config::class, fn () => $lasting->worker(concurrency: 0));
    $client = $lease->client();
    $handover = $lease->release();
    $shown = implode('', array_map(shown(...), [$worker, $lease, $lease->work, $client, $handover]));
    $shown .= $failure . shown($failure->getTrace()) . serialize($lease->work) . serialize($handover);
    check(str_contains($shown, $lease->id), 'the rest is shown');
    same([$secret, $lasting->key], [$handover->workSecret(), $handover->environment()['ANTHROPIC_ENVIRONMENT_KEY']]);
    check(!str_contains($shown, $secret) && !str_contains($shown, $lasting->key), 'no secret is in it');
    foreach ([$worker, $lease, $lasting->owner->queue()] as $one) {
        thrown(LogicException::class, fn () => clone $one);
        thrown(LogicException::class, fn () => serialize($one));
    }
});

test('the client of a lease has the token of its item', function () use ($lasting): void {
    $lasting->enqueue();
    $lease = $lasting->claim($lasting->worker());
    $lasting->emulator->takeRequests();
    $lease->client()->beta->sessions->retrieve($lease->sessionID);
    [$request] = $lasting->requests('sessions.retrieve');
    check(str_contains($request['headers']['authorization'], 'sk-ant-req-'), 'it is a token of the item');
    $lease->finish();
});

test('an item that is to be stopped notifies its holder', function () use ($brief): void {
    $item = $brief->enqueue();
    foreach ($brief->worker(drain: true) as $lease) {
        $brief->stop($item);
        check($lease->wait(PATIENCE), 'it is over');
        same(['stop_requested', 'asked', false], [$lease->state()->state, $lease->state()->reason, $lease->isLost()]);
    }
    same('stopped', $brief->state($item));
});

test('a lost lease notifies its holder, and is not finished', function () use ($brief): void {
    $brief->enqueue();
    $lease = $brief->claim($brief->worker());
    $brief->emulator->advance((BRIEF + 1) * 1000);
    $other = $brief->claim($brief->worker());
    same($lease->id, $other->id);
    check($lease->wait(PATIENCE) && $lease->isLost(), 'it is lost');
    same('taken', $lease->state()->reason);
    $brief->emulator->takeRequests();
    same('lease_lost', thrown(LeaseLost::class, fn () => $lease->finish())->status);
    check($lease->isLost() && $lease->isOver(), 'it stays lost');
    same([], $brief->requests('work.stop'));
    $other->finish();
});

test('a lease that is destroyed is abandoned, and keeps its worker as long as it lives', function () use ($lasting): void {
    $lasting->enqueue();
    $lease = $lasting->claim($lasting->worker(graceMs: 0));
    same(false, $lease->wait(200), 'a worker that is destroyed would have it stopped');
    $lease->finish();
    $lasting->enqueue();
    $worker = $lasting->worker();
    $lease = $lasting->claim($worker);
    same(1, $worker->stats()['leases_held']);
    unset($lease);
    waitUntil(fn (): bool => $worker->stats()['abandoned'] === 1 && $worker->stats()['leases_held'] === 0, 'it is abandoned');
});

test('a worker counts', function () use ($lasting): void {
    $lasting->enqueue();
    $lasting->emulator->takeRequests();
    $worker = $lasting->worker(workerID: 'w-1', concurrency: 3);
    $lasting->claim($worker)->finish();
    $stats = $worker->stats();
    same(['w-1', 3, 1, 1], [$stats['worker_id'], $stats['concurrency'], $stats['claimed'], $stats['finished']]);
    check(str_contains($worker->metrics(), "# TYPE antenv_worker_claimed_total counter\n"), 'metrics');
    same(['w-1'], array_values(array_unique(array_map(
        fn (array $one): string => $one['headers']['anthropic-worker-id'],
        $lasting->requests('work.poll'),
    ))));
});

test('a permanent error ends the worker', function () use ($lasting): void {
    $worker = $lasting->worker(environmentKey: 'sk-ant-oat01-wrong');
    foreach ([1, 2] as $time) {
        thrown(Authentication::class, fn () => $worker->next());
    }
    thrown(Authentication::class, fn () => $worker->run(fn () => null));
    thrown(Authentication::class, fn () => $worker->run(tools: []));
});

test('run serves items with a handler, and logs what it throws', function () use ($lasting): void {
    foreach (['finish' => 'stopped', 'abandon' => 'active'] as $onError => $state) {
        $items = [$lasting->enqueue(), $lasting->enqueue()];
        $log = logged(fn () => $lasting->worker(drain: true)->run(
            fn (Lease $lease) => $lease->id === $items[0] ? throw new RuntimeException('no luck') : null,
            onError: $onError,
        ));
        same([$state, 'stopped'], array_map($lasting->state(...), $items));
        $how = $onError === 'finish' ? 'finished' : 'abandoned';
        check(str_starts_with($log, 'antenv: a handler failed') || str_contains($log, '] antenv: a handler failed'), $log);
        check(str_contains($log, "is $how: work_id=$items[0] why=RuntimeException: no luck in " . __FILE__), $log);
    }
});

test('an interrupt ends run, and its item is finished', function () use ($lasting): void {
    $item = $lasting->enqueue();
    thrown(Interrupted::class, fn () => $lasting->worker()->run(fn () => throw new Interrupted()));
    same('stopped', $lasting->state($item));
});

test('the arguments of run are checked', function () use ($lasting): void {
    $worker = $lasting->worker();
    foreach (
        [
            ['run takes either a handler or tools', []],
            ['run takes either a handler or tools', ['handler' => fn () => null, 'tools' => []]],
            ['onError must be "finish" or "abandon", not "stop"', ['handler' => fn () => null, 'onError' => 'stop']],
            ['maxIdleMs: only with tools, not with a handler', ['handler' => fn () => null, 'maxIdleMs' => 1]],
            ['maxIdle: unknown; known are: traces, ', ['tools' => [], 'maxIdle' => 1]],
        ] as [$words, $arguments]
    ) {
        $error = thrown(InvalidArgumentException::class, fn () => $worker->run(...$arguments));
        check(str_starts_with($error->getMessage(), $words), $error->getMessage());
    }
});

test('a lease goes to another process, which goes on with it', function () use ($brief): void {
    $item = $brief->enqueue();
    $worker = $brief->worker();
    $handover = $brief->claim($worker)->release();
    same([$item, $brief->environment], [$handover->workID, $handover->environmentID]);
    $variables = array_diff_key([...getenv(), ...$handover->environment()], ['ANTHROPIC_API_KEY' => 1]);
    $code = 'require $argv[1]; $lease = (new Antenv\Client(baseURL: $argv[2], caFile: $argv[3] ?: null))->adopt();'
        . 'echo $lease->id, " ", $lease->state()->state, " ", $lease->sessionID; $lease->finish();';
    $autoload = dirname(__DIR__, 2) . '/bindings/php/autoload.php';
    $command = [PHP_BINARY, '-r', $code, '--', $autoload, $brief->emulator->url, (string) $brief->emulator->caFile];
    $process = proc_open($command, [1 => ['pipe', 'w']], $pipes, null, $variables);
    same("$item held $handover->sessionID", stream_get_contents($pipes[1]));
    same([0, 'stopped'], [proc_close($process), $brief->state($item)]);
    $stale = fn () => $brief->owner->adopt(
        workID: $item,
        environmentID: $brief->environment,
        sessionID: $handover->sessionID,
        environmentKey: $brief->key,
        workSecret: $handover->workSecret(),
        expectedLastHeartbeat: $handover->lastHeartbeat,
    );
    thrown(LeaseLost::class, $stale);
    same('workID', thrown(Config::class, fn () => $brief->owner->adopt())->parameter);
});

test('a worker may only claim, for others to serve', function () use ($lasting): void {
    $item = $lasting->enqueue();
    $lease = $lasting->claim($lasting->worker(heartbeat: false));
    same(['claimed', null], [$lease->state()->state, $lease->state()->lastHeartbeat]);
    same('starting', $lasting->state($item));
    $handover = $lease->release();
    same(null, $handover->lastHeartbeat);
    $adopted = $lasting->owner->adopt(
        workID: $handover->workID,
        environmentID: $handover->environmentID,
        sessionID: $handover->sessionID,
        workSecret: $handover->workSecret(),
        environmentKey: $lasting->key,
    );
    same(['held', 'active'], [$adopted->state()->state, $lasting->state($item)]);
    $adopted->finish();
});

Tests::end();

<?php

/** Tests of streams, downloads and queues. Run by test_php_stream.py. */

declare(strict_types=1);

require __DIR__ . '/serving.php';

use Antenv\Exception\API;
use Antenv\Exception\APIConnection;
use Antenv\Exception\APIStatus;
use Antenv\Exception\APITimeout;
use Antenv\Exception\Cancelled;
use Antenv\Exception\InvalidArgument;
use Antenv\Exception\NotFound;
use Antenv\Exception\WaitTimeout;
use Antenv\Log;
use Antenv\LogRecord;
use Antenv\RequestOptions;
use Antenv\Response;
use Antenv\Types\Environment;

$hosts = new Hosts();
$events = $hosts->owner->beta->sessions->events;

test('a loop has the events of a session until the server ends the stream', function () use ($hosts, $events): void {
    $session = $hosts->emulator->session([STREAM, ['text' => 'Hello.'], ['terminate' => true]], $hosts->environment);
    $response = new Response();
    $stream = $events->stream($session->id, requestOptions: new RequestOptions(response: $response));
    same([200, $stream->requestID], [$response->statusCode, $response->requestID]);
    check(str_starts_with((string) $stream->requestID, 'req_'), 'a request id');
    $seen = [];
    foreach ($stream as $event) {
        $seen[] = $event->type;
        if ($event->type === 'agent.message') {
            same('Hello.', $event->content[0]['text']);
            break;
        }
    }
    foreach ($stream as $event) { // another loop goes on
        $seen[] = $event->type;
        if ($event->type === 'session.status_terminated') {
            break;
        }
    }
    check(in_array('agent.message', $seen, true), 'all of them');
    $session = $hosts->emulator->session([], $hosts->environment);
    $hosts->emulator->faults(['operation' => 'sessions.events.stream', 'stream' => ['after' => 1, 'then' => 'end']]);
    $stream = $events->stream($session->id);
    $hosts->emulator->script($session->id, [['text' => 'Hello.']]);
    same(1, count(iterator_to_array($stream)));
    same([null, null], [$stream->next(), $stream->next(0)]);
});

test('a wait for an event ends after a time, and the stream stays open', function () use ($hosts, $events): void {
    $session = $hosts->emulator->session([STREAM], $hosts->environment);
    $stream = $events->stream($session->id);
    foreach ([0, 30] as $milliseconds) {
        same("no event came within $milliseconds ms", thrown(WaitTimeout::class, function () use ($stream, $milliseconds): void {
            while ($stream->next($milliseconds) !== null) {
            }
        })->getMessage());
    }
    $hosts->emulator->script($session->id, [['text' => 'At last.']]);
    while (($event = $stream->next(PATIENCE))->type !== 'agent.message') {
    }
    same('At last.', $event->content[0]['text']);
    $stream->close();
    $stream->close();
    same([null, []], [$stream->next(), iterator_to_array($stream)]);
    unset($stream);
    $closed = fn (): bool => $hosts->emulator->control('GET', 'connections')['streams_open'] === 0;
    waitUntil($closed, 'the request has ended');
    $stream = $events->stream($session->id);
    check(!$closed(), 'it is open');
    unset($stream);
    waitUntil($closed, 'a stream that is destroyed is closed');
});

test('what ends a stream is thrown, every time', function () use ($hosts, $events): void {
    $session = $hosts->emulator->session([['text' => 'a', 'count' => 9]], $hosts->environment);
    foreach (['cut' => APIConnection::class, 'error' => APIStatus::class, 'silence' => APITimeout::class] as $then => $class) {
        $hosts->emulator->faults(['operation' => 'sessions.events.stream', 'stream' => ['after' => 0, 'then' => $then]]);
        $stream = $events->stream($session->id, idleTimeoutMs: $then === 'silence' ? 200 : null);
        $hosts->emulator->script($session->id, [['text' => 'b']]);
        foreach ([1, 2] as $time) {
            thrown($class, fn () => iterator_to_array($stream));
        }
    }
    thrown(NotFound::class, fn () => $events->stream('sesn_missing'));
    same('idleTimeoutMs', thrown(InvalidArgument::class, fn () => $events->stream($session->id, idleTimeoutMs: 0))->parameter);
});

test('a file is downloaded whole', function () use ($hosts): void {
    $version = $hosts->emulator->uploadSkill('pdf', ['SKILL.md' => '# PDF']);
    $path = tempnam(sys_get_temp_dir(), 'skill');
    $versions = $hosts->owner->beta->skills->versions;
    $found = $versions->retrieve('latest', skillID: $version['skill_id']);
    $download = $versions->download($found->id, skillID: $version['skill_id'], path: $path);
    same([$path, filesize($path), 'PK'], [$download->path, $download->bytes, file_get_contents($path, length: 2)]);
    $hosts->emulator->faults(['operation' => 'skills.versions.download', 'cut' => 10, 'count' => 9]);
    file_put_contents($path, 'before');
    $download = fn (string $path): mixed => $versions->download(
        $found->id,
        skillID: $version['skill_id'],
        path: $path,
        requestOptions: new RequestOptions(maxRetries: 0),
    );
    thrown(API::class, fn () => $download($path));
    same('before', file_get_contents($path));
    $hosts->emulator->control('DELETE', 'faults');
    same('path', thrown(InvalidArgument::class, fn () => $download('/no/such/x'))->parameter);
    unlink($path);
});

test('many calls are in flight at once', function () use ($hosts): void {
    $queue = $hosts->owner->queue();
    for ($number = 0; $number < 50; $number++) {
        $queue->submit('environments.create', ['name' => "many $number"], tag: $number);
    }
    same(50, count($queue));
    $names = [];
    foreach ($queue as $completion) {
        $names[$completion->tag] = $completion->result(Environment::class)->name;
        if ($completion->tag === 7) { // more may be submitted meanwhile
            $queue->submit('environments.retrieve', ['environment_id' => 'env_missing'], tag: $completion);
            foreach ($queue as $other) {
                if ($other->tag === $completion) {
                    same('environment_not_found', $other->error()?->errorCode);
                    thrown(NotFound::class, fn () => $other->result());
                    break;
                }
                $names[$other->tag] = $other->result()->name;
            }
        }
    }
    ksort($names);
    same(array_map(fn (int $number): string => "many $number", range(0, 49)), $names);
    same([0, null, null], [count($queue), $queue->next(), $queue->next(0)]);
});

test('a call that was submitted can be cancelled, and one that is wrong is refused at once', function () use ($hosts): void {
    $queue = $hosts->owner->queue();
    $hosts->emulator->faults(['operation' => 'environments.retrieve', 'hold' => true]);
    $ticket = $queue->submit('environments.retrieve', ['environment_id' => $hosts->environment], 'slow');
    same(null, $queue->next(20));
    $ticket->cancel();
    $completion = $queue->next();
    same('slow', $completion->tag);
    check($completion->error() instanceof Cancelled, 'it is cancelled');
    $ticket->cancel();
    $wrong = ['environments.explode' => 'operation', 'environments.retrieve' => 'environmentID', "a\0" => 'operation'];
    foreach ($wrong as $name => $parameter) {
        same($parameter, thrown(InvalidArgument::class, fn () => $queue->submit($name))->parameter);
    }
    same(0, count($queue));
    $response = new Response();
    $options = new RequestOptions(response: $response);
    $queue->submit('environments.retrieve', ['environment_id' => $hosts->environment], requestOptions: $options);
    same([$hosts->environment, 200], [$queue->next()->result(Environment::class)->id, $response->statusCode]);
});

test('a queue is watched by stream_select', function () use ($hosts): void {
    $queue = $hosts->owner->queue();
    $ready = function (int $seconds) use ($queue): int {
        [$read, $write, $except] = [[$queue->stream()], null, null];
        return stream_select($read, $write, $except, $seconds);
    };
    same(0, $ready(0));
    $queue->submit('environments.retrieve', ['environment_id' => $hosts->environment]);
    same(1, $ready(60));
    same($hosts->environment, $queue->next(0)->result()->id);
    same(0, $ready(0));
});

test('a secret in a result is not shown', function () use ($hosts): void {
    $hosts->enqueue();
    $queue = $hosts->emulator->client(environmentKey: $hosts->key)->queue();
    $queue->submit('work.poll', ['environment_id' => $hosts->environment]);
    $completion = $queue->next();
    $secret = $completion->result(Antenv\Types\Work::class)->secret();
    check($secret !== null && !str_contains(shown($completion) . shown($queue), $secret), 'it is hidden');
});

test('the log is passed to a function, and holds no secret', function (): void {
    $hosts = new Hosts(); // whose work queue has no items of other tests
    $records = [];
    Log::to(function (LogRecord $record) use (&$records, $hosts): void {
        $records[] = $record;
        $hosts->owner->beta->environments->retrieve($hosts->environment); // it may make calls
    }, 'info');
    $hosts->emulator->faults(['operation' => 'environments.retrieve', 'status' => 503]);
    $hosts->owner->beta->environments->retrieve($hosts->environment);
    $retried = array_values(array_filter($records, fn (LogRecord $one): bool => $one->message === 'retrying'));
    same(['info', 'antenv::client', 503], [$retried[0]->level, $retried[0]->target, $retried[0]->fields['http_status']]);
    check(str_starts_with((string) $retried[0], 'retrying: ') && str_contains((string) $retried[0], ' attempt='), 'a text');
    $hosts->emulator->faults(['operation' => 'work.poll', 'status' => 503, 'count' => 99]);
    $worker = $hosts->worker();
    $found = function () use (&$records): array {
        return array_filter($records, fn (LogRecord $one): bool => $one->message === 'a poll failed');
    };
    waitUntil(function () use ($worker, $found): bool {
        thrown(WaitTimeout::class, fn () => $worker->next(20));
        return $found() !== [];
    }, 'the poll is logged while the worker waits');
    same(['warn', 'warning'], [current($found())->level, current($found())->psrLevel()]);
    $worker->close();
    $hosts->emulator->control('DELETE', 'faults');
    $hosts->script(['custom_tool' => 'fail', 'input' => new stdClass()], RESULTS);
    $log = logged(fn () => $hosts->worker(drain: true)->run(
        tools: ['fail' => fn () => throw new RuntimeException('it failed')],
        maxIdleMs: IDLE,
    ));
    same('', $log);
    $failed = array_values(array_filter($records, fn (LogRecord $one): bool => $one->message === 'a tool failed'));
    same(['antenv::session', 'fail'], [$failed[0]->target, $failed[0]->fields['tool']]);
    check(!str_contains(implode("\n", $records), $hosts->key), 'no key');
    same('filter', thrown(InvalidArgument::class, fn () => Log::to(fn () => null, 'loud'))->parameter);
    Log::to(null);
    $before = count($records);
    $hosts->emulator->faults(['operation' => 'environments.retrieve', 'status' => 503]);
    $hosts->owner->beta->environments->retrieve($hosts->environment);
    same($before, count($records));
});

Tests::end();

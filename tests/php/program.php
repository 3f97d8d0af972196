<?php

/** A program that serves a work queue, as process.php runs it: `program.php CASE URL CA_FILE ENVIRONMENT KEY`. */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/bindings/php/autoload.php';

use Antenv\Client;

[, $case, $url, $caFile, $environment, $key] = $argv;
$client = new Client(environmentKey: $key, baseURL: $url, caFile: $caFile === '' ? null : $caFile);
$worker = $client->worker($environment, concurrency: 2);

/** Prints a line at once. */
function say(string $line): void
{
    fwrite(STDOUT, "$line\n");
}

final class Failing
{
    public function __destruct()
    {
        throw new RuntimeException('a destructor failed');
    }
}

switch ($case) {
    case 'stopped': // by SIGTERM while it waits; it has not turned on pcntl_async_signals()
        pcntl_signal(SIGTERM, fn () => $worker->stop());
        say('waiting');
        foreach ($worker as $lease) {
            say($lease->id);
        }
        say('stopped');
        break;
    case 'run': // sessions are served until SIGTERM comes
        pcntl_async_signals(true);
        pcntl_signal(SIGTERM, fn () => $worker->stop());
        $worker->run(tools: ['hold' => function (Antenv\ToolCall $call): string {
            say('holding');
            return $call->wait(60_000) ? 'void' : 'late';
        }]);
        say('stopped');
        break;
    case 'end': // of the script, with everything in use
        $lease = $worker->next();
        $stream = $lease->client()->beta->sessions->events->stream($lease->sessionID);
        $queue = $client->queue();
        $queue->submit('work.poll', ['environment_id' => $environment, 'block_ms' => 999]);
        say($lease->id);
        break;
    case 'exit': // in the body of the loop
        foreach ($worker as $lease) {
            say($lease->id);
            exit(3);
        }
        break;
    case 'exit in a tool':
        foreach ($worker as $lease) {
            say($lease->id);
            $lease->serve(['leave' => fn () => exit(3)]);
        }
        break;
    case 'exception': // that nothing catches
        foreach ($worker as $lease) {
            say($lease->id);
            throw new RuntimeException('nothing catches this');
        }
        break;
    case 'destructor': // that throws in the body of the loop
        foreach ($worker as $lease) {
            say($lease->id);
            new Failing();
        }
        break;
    case 'killed': // with an emulator that it has started
        $emulator = new Antenv\Testing\Emulator();
        say($emulator->url);
        sleep(3600);
        break;
}

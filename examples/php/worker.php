<?php

declare(strict_types=1);

// Serves the work queue of an environment, one item after the other, until SIGTERM or Ctrl-C comes:
//
//     php worker.php [--drain] [PROCESSES]
//
// With PROCESSES, so many forked processes serve it. Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set,
// ANTHROPIC_BASE_URL.

require dirname(__DIR__, 2) . '/bindings/php/autoload.php'; // with Composer: 'vendor/autoload.php'

use Antenv\Client;
use Antenv\Lease;

/** Serves an item; here, it says who asked. The library keeps the lease meanwhile. */
function serve(Lease $lease): void
{
    $session = $lease->client()->beta->sessions->retrieve($lease->sessionID); // with the item's own token
    for ($step = 1; $step <= 3 && !$lease->wait(100); $step++) { // until the item is to be stopped
        echo getmypid(), ": step $step of $session->id\n";
    }
}

/** Serves the work queue until a signal comes, which goes to the children, too. */
function serveQueue(Client $client, bool $drain, int ...$children): void
{
    $worker = $client->worker(drain: $drain);
    pcntl_async_signals(true);
    $stop = function (int $signal) use ($worker, $children): void {
        $worker->stop(); // the item that is being served is finished first
        foreach ($children as $child) {
            posix_kill($child, $signal);
        }
    };
    pcntl_signal(SIGTERM, $stop);
    pcntl_signal(SIGINT, $stop);
    $worker->run(serve(...)); // an exception is logged, and the next item served
    fprintf(STDERR, "%d: finished %d items\n", getmypid(), $worker->stats()['finished']);
}

$drain = in_array('--drain', $argv, true);
$processes = (int) end($argv);
$client = new Client();

$children = [];
for ($number = 1; $number < $processes; $number++) {
    $child = pcntl_fork();
    if ($child === 0) {
        serveQueue($client, $drain); // a client works in a forked process; a worker is made there
        exit(0);
    }
    $children[] = $child;
}
serveQueue($client, $drain, ...$children);
foreach ($children as $child) {
    pcntl_waitpid($child, $status);
}

<?php

/** A program that serves sessions, for the soak: `php serving.php ROOT CONCURRENCY`. It has the tools of serving.py. */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/bindings/php/autoload.php';

use Antenv\Lease;
use Antenv\ToolCall;

[, $root, $concurrency] = $argv;

/** Writes down that a tool runs, and returns the identifier of its call. */
function note(ToolCall $call): string
{
    file_put_contents((string) getenv('SOAK_RUNS'), "$call->id\n", FILE_APPEND);
    return $call->id;
}

/** Removes a directory with all that is in it. */
function remove(string $directory): void
{
    foreach (new FilesystemIterator($directory) as $path => $file) {
        $file->isDir() && !$file->isLink() ? remove($path) : unlink($path);
    }
    rmdir($directory);
}

$worker = (new Antenv\Client())->worker(concurrency: (int) $concurrency);
pcntl_async_signals(true);
pcntl_signal(SIGTERM, $worker->stop(...));
$worker->run(
    tools: [
        'who' => note(...),
        'slow' => function (ToolCall $call): string {
            note($call);
            $call->wait(600_000);
            return 'too late';
        },
    ],
    toolset: true,
    maxIdleMs: 1000,
    workdir: function (Lease $lease) use ($root): string {
        mkdir("$root/$lease->id");
        return "$root/$lease->id";
    },
    onEnd: fn (Lease $lease) => remove("$root/$lease->id"),
);

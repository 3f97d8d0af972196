<?php

/**
 * Serves scripted agents: `scripted.php loop|run URL ENVIRONMENT KEY`. With `loop`, one session after the other, and
 * prints why each is over; with `run`, all of them at the same time.
 */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/bindings/php/autoload.php';

use Antenv\ToolCall;
use Antenv\ToolError;

[, $how, $url, $environment, $key] = $argv;
$tools = [
    'echo' => fn (mixed ...$input): string => '{"echo":' . str_replace('":', '": ', json_encode($input)) . '}',
    'fail' => fn (): never => throw new ToolError('it failed'),
    'silent' => fn () => null,
    'slow' => fn (ToolCall $call): string => $call->wait(60_000) && $call->isVoid() ? 'too late' : 'not void',
    'leave' => function (ToolCall $call): string {
        $call->letGo();
        return 'nothing';
    },
];
$client = new Antenv\Client(environmentKey: $key, baseURL: $url);
if ($how === 'run') {
    $client->worker($environment, concurrency: 100, drain: true)->run(tools: $tools, maxIdleMs: 300);
} else {
    foreach ($client->worker($environment, drain: true) as $lease) {
        echo $lease->serve($tools, maxIdleMs: 300), "\n";
    }
}

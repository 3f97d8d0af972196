<?php

declare(strict_types=1);

// Serves the sessions of an environment's work queue: their agents may call the tools below.
//
//     php session.php [--drain]
//     php session.php --define      prints the tools, for the definition of an agent
//
// Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set, ANTHROPIC_BASE_URL.

require dirname(__DIR__, 2) . '/bindings/php/autoload.php'; // with Composer: 'vendor/autoload.php'

use Antenv\Client;
use Antenv\Tool;
use Antenv\ToolCall;
use Antenv\ToolError;
use Antenv\ToolFunction;

enum Exactness: string
{
    case Seconds = 'seconds';
    case Days = 'days';
}

final class Clock
{
    public function __construct(private readonly DateTimeZone $zone)
    {
    }

    /**
     * Returns the time, as RFC 3339.
     *
     * @param Exactness $unit How exact it is.
     */
    #[Tool]
    public function clock(Exactness $unit = Exactness::Seconds): string
    {
        return (new DateTime('now', $this->zone))->format($unit === Exactness::Days ? 'Y-m-d' : DATE_RFC3339);
    }

    #[Tool(description: 'Waits for so many seconds, unless the agent is interrupted.')]
    public function countdown(int $seconds, ToolCall $call): string
    {
        if ($seconds > 60) {
            throw new ToolError('that is too long: 60 seconds at most');
        }
        return $call->wait($seconds * 1000) ? 'interrupted' : 'done'; // nobody gets the first
    }
}

$clock = new Clock(new DateTimeZone('UTC'));
if (in_array('--define', $argv, true)) {
    $tools = [new ToolFunction($clock->clock(...)), new ToolFunction($clock->countdown(...))];
    echo json_encode(array_map(fn (ToolFunction $tool): array => $tool->definition(), $tools), JSON_PRETTY_PRINT), "\n";
    exit;
}

// A hundred sessions at a time, in one process: an agent thinks longer than its tools run.
$worker = (new Client())->worker(concurrency: 100, drain: in_array('--drain', $argv, true));
pcntl_async_signals(true);
pcntl_signal(SIGTERM, $worker->stop(...));
$worker->run(tools: [$clock], maxIdleMs: (int) (getenv('MAX_IDLE_MS') ?: 60_000));

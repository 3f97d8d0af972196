<?php

declare(strict_types=1);

// Sends a message to a session and prints what happens, until the turn is over. Calls of the tool "clock" are answered.
//
//     php stream.php SESSION_ID
//
// Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.

require dirname(__DIR__, 2) . '/bindings/php/autoload.php'; // with Composer: 'vendor/autoload.php'

use Antenv\Client;

[, $sessionID] = $argv;
$events = (new Client())->beta->sessions->events;

// The stream has what happens from its opening on, so it is opened before the message is sent.
$stream = $events->stream($sessionID);
$events->send($sessionID, events: [
    ['type' => 'user.message', 'content' => [['type' => 'text', 'text' => 'What time is it?']]],
]);
foreach ($stream as $event) {
    if ($event->type === 'agent.message') {
        echo 'agent: ', implode(' ', array_column($event->content, 'text')), "\n";
    } elseif ($event->type === 'agent.custom_tool_use' && $event->name === 'clock') {
        echo 'calls: ', $event->name, ' ', json_encode((object) $event->input), "\n";
        $events->send($sessionID, events: [
            [
                'type' => 'user.custom_tool_result',
                'customToolUseID' => $event->id,
                'content' => [['type' => 'text', 'text' => date(DATE_RFC3339)]],
            ],
        ]);
    } elseif ($event->type === 'session.status_idle' && $event->stopReason['type'] !== 'requires_action') {
        echo 'idle: ', $event->stopReason['type'], "\n";
        break;
    } elseif ($event->type === 'session.status_terminated') {
        break;
    }
}

<?php

declare(strict_types=1);

// Makes an environment, lists all there are, and looks for one that is not there.
// Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.

require dirname(__DIR__, 2) . '/bindings/php/autoload.php'; // with Composer: 'vendor/autoload.php'

use Antenv\Client;
use Antenv\Exception\NotFound;

$client = new Client();
$created = $client->beta->environments->create(name: 'quick start', config: ['type' => 'self_hosted']);
echo "created: $created->id $created->name {$created->config->type}\n";

foreach ($client->beta->environments->list() as $environment) {
    echo "listed: $environment->id $environment->name\n";
}

try {
    $client->beta->environments->retrieve('env_missing');
} catch (NotFound $error) {
    echo "not found: $error->errorCode ", $error->getMessage(), "\n";
}

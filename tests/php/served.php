<?php

/** What a web server runs for each request: makes an environment of the name that the query says. */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/bindings/php/autoload.php';

$environment = (new Antenv\Client())->beta->environments->create(name: $_GET['name']);
header('content-type: application/json');
echo json_encode(['name' => $environment->name]);

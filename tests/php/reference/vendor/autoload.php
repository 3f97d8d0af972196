<?php

declare(strict_types=1);

// What the examples of the API reference load: there `Client` has no namespace. ANTHROPIC_BASE_URL says where the API is.

require_once dirname(__DIR__, 4) . '/bindings/php/autoload.php';

class_exists('Client') || class_alias(Antenv\Client::class, 'Client');

<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The server could not be reached, or the connection broke before the response was complete.
 */
class APIConnection extends API
{
}

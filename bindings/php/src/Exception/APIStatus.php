<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The server responded with an HTTP status that is not a success.
 */
class APIStatus extends API
{
}

<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 429: too many requests.
 */
class RateLimit extends APIStatus
{
}

<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 431: the headers are too large.
 */
class RequestHeaderFieldsTooLarge extends APIStatus
{
}

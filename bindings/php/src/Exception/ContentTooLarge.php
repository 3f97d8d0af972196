<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 413: the request is too large.
 */
class ContentTooLarge extends APIStatus
{
}

<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 404: there is no such object.
 */
class NotFound extends APIStatus
{
}

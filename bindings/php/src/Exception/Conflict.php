<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 409: the object's current state does not allow it.
 */
class Conflict extends APIStatus
{
}

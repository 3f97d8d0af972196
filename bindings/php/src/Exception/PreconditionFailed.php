<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 412: a condition does not hold, such as `expectedLastHeartbeat`.
 */
class PreconditionFailed extends APIStatus
{
}

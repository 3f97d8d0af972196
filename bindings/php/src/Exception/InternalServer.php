<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 500 to 599: the server failed.
 */
class InternalServer extends APIStatus
{
}

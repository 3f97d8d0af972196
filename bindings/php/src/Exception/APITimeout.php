<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The call's `timeoutMs` is over.
 */
class APITimeout extends APIConnection
{
}

<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The call was cancelled, because the library was shut down.
 */
class Cancelled extends AntenvException
{
}

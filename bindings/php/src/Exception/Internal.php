<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * A fault in the library itself. Please report it.
 */
class Internal extends AntenvException
{
}

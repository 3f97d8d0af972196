<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 529: the API is overloaded.
 */
class Overloaded extends InternalServer
{
}

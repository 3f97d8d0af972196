<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Stands for an argument that is left out, where `null` would be sent as `null`.
 */
enum Omit
{
    case Omitted;
}

variable "name" {
  description = "What the roles and rules are called after: NAME-writer, NAME-reader, NAME-janitor, NAME-repairer, NAME-replication."
  type        = string
  default     = "pgark"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,40}$", var.name))
    error_message = "name: 1 to 40 letters, digits, hyphens and underscores."
  }
}

variable "primary_bucket" {
  description = "Name of the bucket that the agent archives into, in the region of the provider aws.primary. It is made here."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.primary_bucket))
    error_message = "primary_bucket: 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "copy_bucket" {
  description = "Name of the bucket that holds the copy, in the region of the provider aws.copy. It is made here."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.copy_bucket)) && var.copy_bucket != var.primary_bucket
    error_message = "copy_bucket: 3 to 63 lower-case letters, digits and hyphens, and another than primary_bucket."
  }
}

variable "prefix" {
  description = "Where the repository lies in both buckets, without slashes at its ends. One cluster archives below one prefix."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", var.prefix))
    error_message = "prefix: names of letters, digits, dots, hyphens and underscores, with a slash between."
  }
}

variable "copy_by" {
  description = "Who makes the copy. agent: pgark writes each object to both, and a commit may wait for both. bucket: S3 Replication does; the agent has no right to write there, and WAL counts as durable before it is there."
  type        = string
  default     = "agent"

  validation {
    condition     = contains(["agent", "bucket"], var.copy_by)
    error_message = "copy_by: agent or bucket."
  }
}

variable "replication_time_control" {
  description = "Whether S3 promises, at a price, to replicate within 15 minutes. It counts with copy_by = \"bucket\" alone."
  type        = bool
  default     = false
}

variable "lock_mode" {
  description = "Object Lock of every new object in both buckets: governance, compliance, or none. Under compliance nobody can delete an object before its time, the account's owner included. It cannot be turned on here for buckets that were made without it."
  type        = string
  default     = "governance"

  validation {
    condition     = contains(["none", "governance", "compliance"], var.lock_mode)
    error_message = "lock_mode: none, governance or compliance."
  }
}

variable "lock_days" {
  description = "How long an object is locked from its creation, in days: longer than the window of retention, twice the time between two base backups and retain.grace together."
  type        = number
  default     = 21

  validation {
    condition     = var.lock_days >= 1 && var.lock_days <= 3650 && floor(var.lock_days) == var.lock_days
    error_message = "lock_days: 1 to 3650 whole days."
  }
}

variable "noncurrent_days" {
  description = "How long what was deleted or overwritten stays as a noncurrent version, in days: how late a deletion may be noticed. Then it is gone for good, once its lock has ended."
  type        = number
  default     = 35

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days: 1 or more whole days."
  }
}

variable "remove_versions" {
  description = "Whether the janitor may remove older versions for good, as it does with retain.versions: remove in its pgark.yml. Then nothing but Object Lock protects what is there from whoever has its credential."
  type        = bool
  default     = false
}

variable "archive" {
  description = "Moves what is large in old base backups of the copy into a cheaper class, by the system identifiers of their clusters (pgark status -o json). A window of retention begins with a base backup from before it, beside which stays the one before: after_days must be more than window_days, twice pause_days, the longest time between two base backups, and grace_days (retain.grace) together, so that a restore within the window waits for no thaw. null moves nothing."
  type = object({
    class       = string
    after_days  = number
    window_days = number
    pause_days  = number
    grace_days  = optional(number, 1)
    system_ids  = list(string)
  })
  default = null

  validation {
    condition     = var.archive == null ? true : contains(["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"], var.archive.class)
    error_message = "archive.class: STANDARD_IA, ONEZONE_IA, GLACIER_IR, GLACIER or DEEP_ARCHIVE."
  }

  validation {
    condition     = var.archive == null ? true : var.archive.after_days > var.archive.window_days + 2 * var.archive.pause_days + var.archive.grace_days && var.archive.after_days >= 30
    error_message = "archive.after_days: more than window_days + 2 * pause_days + grace_days, and 30 at least."
  }

  validation {
    condition     = var.archive == null ? true : alltrue([for days in [var.archive.window_days, var.archive.pause_days, var.archive.grace_days] : days >= 0])
    error_message = "archive.window_days, pause_days and grace_days: 0 or more."
  }

  validation {
    condition     = var.archive == null ? true : length(var.archive.system_ids) > 0 && alltrue([for id in var.archive.system_ids : can(regex("^[1-9][0-9]{0,19}$", id))])
    error_message = "archive.system_ids: at least one system identifier, in digits."
  }
}

variable "trusted" {
  description = "Who may assume each role: lists of ARNs under writer, reader, janitor and repairer. A role without a list may be assumed by whoever the account's administrators allow it to."
  type        = map(list(string))
  default     = {}

  validation {
    condition     = alltrue([for role in keys(var.trusted) : contains(["writer", "reader", "janitor", "repairer"], role)])
    error_message = "trusted: writer, reader, janitor and repairer are the roles."
  }
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the roles, where the account asks for one."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of all that is made."
  type        = map(string)
  default     = {}
}

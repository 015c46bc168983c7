variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "prefix" {
  description = "Where the repository lies in it."
  type        = string
}

variable "policy" {
  description = "The bucket's policy, as JSON."
  type        = string
}

variable "lock_mode" {
  description = "Object Lock of every new object: none, governance or compliance."
  type        = string
}

variable "lock_days" {
  description = "How long, in days."
  type        = number
}

variable "noncurrent_days" {
  description = "How long noncurrent versions stay, in days."
  type        = number
}

variable "archive" {
  description = "Class that old base backups of which clusters are moved into, and after how many days; null moves nothing."
  type = object({
    class      = string
    after_days = number
    system_ids = list(string)
  })
  default = null
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
}
